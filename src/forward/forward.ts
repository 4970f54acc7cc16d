/** The last steps of a request in absolute-form: TLS with the host, and then one exchange. One record for each. */
import type { Attempt } from '../audit/attempt.ts'
import type { Audit } from '../audit/journal.ts'
import type { Clock } from '../clock.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import type { AbsoluteHead } from '../proxy/absolute-form.ts'
import { formatReply } from '../proxy/refuse.ts'
import type { Tunnel, TunnelRegistry } from '../proxy/tunnels.ts'
import type { Connection, Wire } from '../wire/types.ts'
import { Exchange } from './exchange.ts'
import { shakeHands } from './handshake.ts'
import { formatRequestHead } from './request-head.ts'

export interface ForwardServices {
  readonly wire: Wire
  readonly clock: Clock
  readonly audit: Audit
  readonly tunnels: TunnelRegistry
  readonly limits: {
    readonly dialTimeoutMs: number
    readonly idleTimeoutMs: number
    readonly maxAgeMs: number
  }
  readonly onBug: (error: unknown) => void
}

/** `relaying`: it goes on by itself, and calls `onEnd` when all is over; `ended`: it is over, and on record. */
export type Forward = (
  head: AbsoluteHead,
  client: Connection,
  upstream: Connection,
  attempt: Attempt,
  services: ForwardServices,
  onEnd: () => void,
) => Promise<Refusal | 'relaying' | 'ended'>

/** To be called where `forward.absoluteForm` is on: only then is http-proxy loaded. */
export function createForward(): Forward {
  // With it http-proxy would ask fetch, which resolves names and connects by itself.
  delete process.env['FORCE_FETCH_PATH']
  const loading = import('http-proxy')
  return async (head, client, upstream, attempt, services, onEnd) => {
    const { createProxyServer } = await loading
    const { wire, clock, audit, tunnels, limits, onBug } = services
    const { target } = attempt
    const connection = wire.release(upstream)
    if (!target || !connection) return refusal('upstream_failed', { detail: 'the connection ended' })
    const secured = await shakeHands(connection, target.host, {
      clock,
      timeoutMs: limits.dialTimeoutMs,
      gone: client.gone,
    })
    if ('kind' in secured) return secured
    client.unread(formatRequestHead(head, target))
    const stream = wire.release(client)
    if (!stream) {
      secured.destroy()
      audit.record({ kind: 'refused', attempt, refusal: refusal('client_gone') })
      return 'ended'
    }
    const tunnel: Tunnel = {
      place: 0,
      attempt,
      relay: new Exchange({
        client: stream,
        upstream: secured,
        target,
        createProxyServer,
        idleTimeoutMs: limits.idleTimeoutMs,
        clock,
        onBug,
        formatReply: (why) => formatReply(attempt, why),
        onEnd(end, status) {
          const { bytesUp, bytesDown } = tunnel.relay
          const durationMs = clock.monotonicMs() - attempt.startedMs
          forgetAge?.()
          tunnels.remove(tunnel)
          try {
            audit.record(
              typeof end === 'string'
                ? { kind: 'forwarded', attempt, code: end, status, bytesUp, bytesDown, durationMs }
                : { kind: 'refused', attempt, refusal: end },
            )
          } catch (error) {
            onBug(error)
          }
          onEnd()
        },
      }),
    }
    const forgetAge =
      limits.maxAgeMs > 0 ? clock.setTimer(() => tunnel.relay.close('max_age'), limits.maxAgeMs) : undefined
    tunnels.add(tunnel)
    return 'relaying'
  }
}
