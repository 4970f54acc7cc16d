/** TLS with the host of a forwarded request, over the connection that was dialled. Verified always, whatever the environment says. */
import type { Duplex } from 'node:stream'
import { connect, type TLSSocket } from 'node:tls'
import type { Clock } from '../clock.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'

export interface HandshakeOptions {
  readonly clock: Clock
  readonly timeoutMs: number
  /** Settles when the client is gone. */
  readonly gone: Promise<void>
}

/** Never rejects; what is refused is closed. */
export async function shakeHands(
  connection: Duplex,
  host: string,
  { clock, timeoutMs, gone }: HandshakeOptions,
): Promise<TLSSocket | Refusal> {
  const socket = connect({
    socket: connection,
    servername: host,
    ALPNProtocols: ['http/1.1'],
    minVersion: 'TLSv1.2',
    // Said, since what is not said follows NODE_TLS_REJECT_UNAUTHORIZED.
    rejectUnauthorized: true,
  })
  let forget = (): void => undefined
  const result = await Promise.race([
    new Promise<TLSSocket | Refusal>((resolve) => {
      socket.once('secureConnect', () => resolve(socket))
      // Stays: an error that comes later must not be one that nobody listens for.
      socket.on('error', (error: NodeJS.ErrnoException) =>
        resolve(refusal('upstream_tls_failed', { detail: problemOf(error) })),
      )
      socket.once('close', () => resolve(refusal('upstream_tls_failed', { detail: 'the host hung up' })))
    }),
    new Promise<Refusal>((resolve) => {
      forget = clock.setTimer(
        () => resolve(refusal('upstream_timeout', { detail: 'during the TLS handshake' })),
        timeoutMs,
      )
    }),
    gone.then(() => refusal('client_gone', { detail: 'during the TLS handshake' })),
  ])
  forget()
  if ('kind' in result) socket.destroy()
  return result
}

/** Such as CERT_HAS_EXPIRED: OpenSSL's and Node's words, never the host's. */
function problemOf(error: NodeJS.ErrnoException): string {
  return error.code ?? 'no reason given'
}
