/** An open tunnel, from the record of its opening to the one of its end. */
import type { Attempt } from '../audit/attempt.ts'
import type { CloseCode } from '../policy/reasons.ts'
import type { Connection, Inspector } from '../wire/types.ts'
import type { Services } from './connect.ts'
import type { Tunnel } from './tunnels.ts'

export type CarryServices = Pick<Services, 'wire' | 'tunnels' | 'audit' | 'clock' | 'limits' | 'onBug'>

/** Joins the two sides; from here on the wire works alone, and `onEnd` is called when the closing record is written. */
export function carry(
  client: Connection,
  upstream: Connection,
  attempt: Attempt,
  inspector: Inspector | undefined,
  services: CarryServices,
  onEnd: () => void,
): void {
  const { wire, tunnels, clock, limits } = services
  let open: Tunnel | undefined
  const ended = (code: CloseCode): void => {
    // A relay that could not be made at all is its maker's to tell of.
    if (!open) return
    endTunnel(open, code, services)
    onEnd()
  }
  const relay = wire.relay(client, upstream, limits, ended, inspector)
  open = { attempt, relay, place: 0 }
  if (limits.maxAgeMs > 0) open.forgetAge = clock.setTimer(() => relay.close('max_age'), limits.maxAgeMs)
  tunnels.add(open)
}

function endTunnel(tunnel: Tunnel, code: CloseCode, { clock, tunnels, audit, onBug }: CarryServices): void {
  const { attempt, relay } = tunnel
  const { bytesUp, bytesDown } = relay
  const durationMs = clock.monotonicMs() - attempt.startedMs
  tunnel.forgetAge?.()
  tunnels.remove(tunnel)
  try {
    audit.record({ kind: 'closed', attempt, code, bytesUp, bytesDown, durationMs })
  } catch (error) {
    onBug(error)
  }
}
