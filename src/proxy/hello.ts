/** The check behind the 200: the ClientHello must name the CONNECT host before a byte goes upstream. */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import { ClientHelloParser, type ClientHello } from '../tls/client-hello.ts'
import type { Connection } from '../wire/types.ts'

/** Reads the ClientHello. Answers with a refusal, or nothing when the server name is `host`. */
export async function checkClientHello(
  client: Connection,
  host: string,
  attempt: Attempt,
  timeoutMs: number,
  clock: Clock,
): Promise<Refusal | undefined> {
  const serverName = await readServerName(client, attempt, timeoutMs, clock)
  if (typeof serverName !== 'string') return serverName
  return serverName === host
    ? undefined
    : refusal('sni_mismatch', { detail: `the ClientHello names ${serverName}` })
}

/**
 * Reads the ClientHello and puts its bytes back for the relay. Answers with its server name in canonical spelling, or
 * with a refusal. What the hello offered is noted on the attempt.
 *
 * @param parser keeps the bytes that were read
 */
export async function readServerName(
  client: Connection,
  attempt: Attempt,
  timeoutMs: number,
  clock: Clock,
  parser = new ClientHelloParser(),
): Promise<string | Refusal> {
  const deadline = clock.monotonicMs() + timeoutMs
  const verdict = await readHello(client, parser, () => deadline - clock.monotonicMs())
  client.unread(parser.bytes)
  if (verdict.kind === 'refusal') return verdict
  const { serverName, alpn, versions } = verdict
  attempt.tls = { serverName, alpn, versions }
  return serverName ?? refusal('sni_missing')
}

async function readHello(
  client: Connection,
  parser: ClientHelloParser,
  remainingMs: () => number,
): Promise<ClientHello | Refusal> {
  for (;;) {
    const read = await client.read(remainingMs())
    switch (read.kind) {
      case 'timeout':
        return refusal('hello_timeout')
      case 'broken':
        return refusal('client_gone', { detail: read.code })
      case 'end':
        return refusal('client_gone', { detail: 'closed before a whole ClientHello' })
      case 'data': {
        const result = parser.push(read.bytes)
        if (result.kind === 'refused') return refusal(result.code, { detail: result.detail })
        if (result.kind === 'hello') return result
      }
    }
  }
}
