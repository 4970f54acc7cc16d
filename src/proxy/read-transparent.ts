/**
 * The front of a transparent listener: TLS that a packet filter has redirected here arrives raw, and its ClientHello says
 * where it wants to go. The address it was sent to is neither known nor needed: the name is what is decided and resolved.
 */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import { ClientHelloParser } from '../tls/client-hello.ts'
import type { Connection } from '../wire/types.ts'
import { readServerName } from './hello.ts'
import type { LoopGuard } from './loop-guard.ts'
import { STRANGER_MS, type Request } from './read-head.ts'

/** Redirected traffic was meant for this port. */
const TLS_PORT = 443

/** Reads the ClientHello, and leaves it to be relayed. A connection that never said a word ("silent") is no attempt. */
export async function readTransparent(
  client: Connection,
  attempt: Attempt,
  admission: 'admitted' | 'stranger',
  services: {
    readonly clock: Clock
    readonly isLoop: LoopGuard
    readonly limits: { readonly helloTimeoutMs: number }
  },
): Promise<Request | Refusal | 'silent'> {
  const { clock, isLoop, limits } = services
  const stranger = admission === 'stranger'
  const timeoutMs = stranger ? Math.min(STRANGER_MS, limits.helloTimeoutMs) : limits.helloTimeoutMs
  const parser = new ClientHelloParser()
  const host = await readServerName(client, attempt, timeoutMs, clock, parser)
  if (typeof host !== 'string' && host.code === 'client_gone' && !client.spoke) return 'silent'
  if (typeof host === 'string') attempt.target = { host, port: TLS_PORT, kind: 'name' }
  if (stranger) return refusal('client_not_allowed', { detail: `from ${attempt.client.address}` })
  if (typeof host !== 'string') return host
  if (isLoop(parser.bytes)) return refusal('redirect_loop')
  return { kind: 'request', target: `${host}:${TLS_PORT}` }
}
