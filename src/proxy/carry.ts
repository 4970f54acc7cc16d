/** An open tunnel, from the record of its opening to the one of its end. */
import type { Attempt } from '../audit/attempt.ts'
import type { CloseCode } from '../policy/reasons.ts'
import type { Connection } from '../wire/types.ts'
import type { Services } from './connect.ts'
import { FirstFlights } from './first-flights.ts'
import type { Tunnel } from './tunnels.ts'

export type CarryServices = Pick<Services, 'wire' | 'tunnels' | 'audit' | 'clock' | 'limits' | 'onBug'>

/**
 * Answers with nothing once the wire relays by itself, and `onEnd` is called at its end; or with why the tunnel ended
 * before, which is on record then. In that case the connections are the caller's to close.
 *
 * @param serverName what each ClientHello in clear has to name; absent where that is not looked at
 */
export async function carry(
  client: Connection,
  upstream: Connection,
  attempt: Attempt,
  serverName: string | undefined,
  services: CarryServices,
  onEnd: () => void,
): Promise<CloseCode | undefined> {
  const { limits, clock } = services
  let tunnel: Tunnel | undefined
  try {
    if (serverName !== undefined) {
      const flights = new FirstFlights(client, upstream, serverName, limits, clock)
      tunnel = beginTunnel({ attempt, relay: flights }, services)
      const code = await flights.pass()
      if (code !== undefined) {
        endTunnel(tunnel, code, services)
        return code
      }
    }
    relay(client, upstream, attempt, tunnel, services, onEnd)
    return undefined
  } catch (error) {
    services.onBug(error)
    const nothing = { bytesUp: 0, bytesDown: 0, close: () => undefined }
    endTunnel(tunnel ?? { attempt, relay: nothing }, 'relay_failed', services)
    return 'relay_failed'
  }
}

/** Joins the two sides; from here on the wire works alone. */
function relay(
  client: Connection,
  upstream: Connection,
  attempt: Attempt,
  begun: Tunnel | undefined,
  services: CarryServices,
  onEnd: () => void,
): void {
  const joined = services.wire.relay(
    client,
    upstream,
    services.limits,
    (code) => {
      endTunnel(tunnel, code, services)
      onEnd()
    },
    begun?.relay,
  )
  const tunnel = begun ?? beginTunnel({ attempt, relay: joined }, services)
  tunnel.relay = joined
}

function beginTunnel(tunnel: Tunnel, { limits, clock, tunnels }: CarryServices): Tunnel {
  if (limits.maxAgeMs > 0)
    tunnel.forgetAge = clock.setTimer(() => tunnel.relay.close('max_age'), limits.maxAgeMs)
  tunnels.add(tunnel)
  return tunnel
}

function endTunnel(tunnel: Tunnel, code: CloseCode, { clock, tunnels, audit, onBug }: CarryServices): void {
  const { attempt, relay: end } = tunnel
  const { bytesUp, bytesDown } = end
  const durationMs = clock.monotonicMs() - attempt.startedMs
  tunnel.forgetAge?.()
  tunnels.remove(tunnel)
  try {
    audit.record({ kind: 'closed', attempt, code, bytesUp, bytesDown, durationMs })
  } catch (error) {
    onBug(error)
  }
}
