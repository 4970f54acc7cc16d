/** The first step behind accept: reads the request head within its time, and notes on the attempt what it said. */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import type { Connection } from '../wire/types.ts'
import { originOf, type AbsoluteHead } from './absolute-form.ts'
import { HeadParser, type ConnectHead } from './head.ts'

/** What a client outside `clients.allow` has for its first words: they are only read to be recorded. */
export const STRANGER_MS = 1000

/** What a front makes of a connection's first bytes. */
export type Request = TunnelRequest | AbsoluteHead

interface TunnelRequest {
  readonly kind: 'connect' | 'request'
  /** Authority form, one character for each byte received. */
  readonly target: string
  /** The Host field, where there is one. */
  readonly host?: string | undefined
  readonly proxyAuthorization?: ConnectHead['proxyAuthorization']
}

export interface HeadServices {
  readonly clock: Clock
  readonly limits: { readonly headTimeoutMs: number }
  /** Absent where `forward.absoluteForm` is off. */
  readonly forward?: object | undefined
}

/** Reads until the head is whole. A connection that never said a word ("silent") is no attempt at all. */
export async function readHead(
  client: Connection,
  attempt: Attempt,
  admission: 'admitted' | 'stranger',
  { clock, limits, forward }: HeadServices,
): Promise<Request | Refusal | 'silent'> {
  const parser = new HeadParser(forward !== undefined)
  const stranger = admission === 'stranger'
  const deadline =
    attempt.startedMs + (stranger ? Math.min(STRANGER_MS, limits.headTimeoutMs) : limits.headTimeoutMs)
  // A stranger is refused as one, whatever is wrong with the request besides; its target is worth recording.
  const refused = (why: Refusal): Refusal =>
    stranger ? refusal('client_not_allowed', { detail: `from ${attempt.client.address}` }) : why
  for (;;) {
    const read = await client.read(deadline - clock.monotonicMs())
    if (read.kind === 'timeout') return refused(refusal('head_timeout'))
    const failure = read.kind === 'broken' ? handshakeFailure(read.code) : undefined
    if (failure !== undefined) return refused(refusal('tls_handshake_failed', { detail: failure }))
    if (read.kind !== 'data' && parser.received === 0) return 'silent'
    if (read.kind === 'broken') return refusal('client_gone', { detail: read.code })
    if (read.kind === 'end') return refused(refusal('malformed_request', { detail: 'the head ends early' }))
    const result = parser.push(read.bytes)
    if (result.kind === 'incomplete') continue
    if ('method' in result && result.method !== undefined) attempt.method = result.method
    else if (result.kind === 'connect') attempt.method = 'CONNECT'
    if (result.target !== undefined) attempt.rawTarget = forward ? originOf(result.target) : result.target
    if (result.version !== undefined) attempt.version = result.version
    if (result.userAgent !== undefined) attempt.userAgent = result.userAgent
    if (result.kind === 'refused') return refused(refusal(result.code, { detail: result.detail }))
    client.unread(result.rest)
    return stranger ? refused(refusal('client_not_allowed')) : result
  }
}

/** Why a TLS listener took no handshake, where that is what the code says. */
function handshakeFailure(code: string): string | undefined {
  if (code === 'ERR_TLS_HANDSHAKE_TIMEOUT') return 'timeout'
  if (code === 'ERR_SSL_HTTP_REQUEST') return 'plain HTTP on a TLS port, write HTTPS_PROXY=https://...'
  return code.startsWith('ERR_SSL_') ? code : undefined
}
