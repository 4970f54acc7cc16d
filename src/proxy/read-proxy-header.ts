/** Reads the PROXY header in front of everything else on a connection from a load balancer. */
import type { Clock } from '../clock.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import type { Connection, Endpoint } from '../wire/types.ts'
import { parseProxyHeader } from './proxy-protocol.ts'

/**
 * The client that the balancer names, or the balancer itself where it names none; a refusal where there is no readable
 * header in time; `silent` where the connection ended without a word.
 */
export async function readProxyHeader(
  connection: Connection,
  timeoutMs: number,
  clock: Clock,
): Promise<Endpoint | Refusal | 'silent'> {
  const deadline = clock.monotonicMs() + timeoutMs
  const invalid = (detail: string): Refusal => refusal('proxy_header_invalid', { detail })
  let bytes = Buffer.alloc(0)
  for (;;) {
    const read = await connection.read(deadline - clock.monotonicMs())
    if (read.kind === 'timeout') return invalid('it did not arrive in time')
    if (read.kind !== 'data') return bytes.length === 0 ? 'silent' : invalid('the connection ended within it')
    bytes = bytes.length === 0 ? Buffer.from(read.bytes) : Buffer.concat([bytes, read.bytes])
    const header = parseProxyHeader(bytes)
    if (header.kind === 'malformed') return invalid(header.detail)
    if (header.kind === 'header') {
      connection.unread(bytes.subarray(header.length))
      return header.source ?? connection.remote
    }
  }
}
