/** One TLS handshake, carried through whatever the certificate says, so that it can be told. */
import { X509Certificate } from 'node:crypto'
import { isIP } from 'node:net'
import { Duplex } from 'node:stream'
import {
  connect as connectTls,
  type DetailedPeerCertificate,
  type SecureContext,
  type TLSSocket,
} from 'node:tls'
import { dnsNamesOf, nameOf, trustOf, type TrustStores } from './certificate.ts'
import type { TlsFacts } from './report.ts'
import { firstBytes, type Bound } from './sockets.ts'

export interface TlsTrust extends TrustStores {
  /** Trusts the public roots and nothing else. */
  readonly context: SecureContext
}

export type Shaken =
  | { readonly kind: 'secured'; readonly stream: Duplex; readonly facts: TlsFacts }
  /** What came is no TLS; `firstLine` is its start, escaped. */
  | { readonly kind: 'not_tls'; readonly firstLine: string; readonly bytes: Buffer }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'reset'; readonly code: string }
  | { readonly kind: 'failed'; readonly code: string }

const RECORD_ALERT = 21
const RECORD_HANDSHAKE = 22
const KEPT_BYTES = 1024

/** Never rejects. On failure the stream is destroyed. */
export function shake(stream: Duplex, host: string, trust: TlsTrust, bound: Bound): Promise<Shaken> {
  const tap = new Tap(stream)
  return new Promise((resolve) => {
    const socket = connectTls({
      socket: tap,
      // RFC 6066 §3: an address is no server name.
      ...(isIP(host) === 0 && { servername: host }),
      secureContext: trust.context,
      ALPNProtocols: ['http/1.1'],
      rejectUnauthorized: false,
      // The name is compared below, so that it can be told apart from the rest.
      checkServerIdentity: () => undefined,
    })
    const finish = (result: Shaken): void => {
      clearTimeout(timer)
      bound.signal.removeEventListener('abort', onTimeout)
      if (result.kind !== 'secured') {
        socket.destroy()
        tap.destroy()
      }
      resolve(result)
    }
    const fail = (code: string): void => {
      const [type] = tap.seen
      if (type !== undefined && type !== RECORD_ALERT && type !== RECORD_HANDSHAKE)
        finish({ kind: 'not_tls', firstLine: firstBytes(tap.seen), bytes: tap.seen })
      else finish({ kind: type === undefined ? 'reset' : 'failed', code })
    }
    const onTimeout = (): void => (tap.seen.length > 0 ? fail('ETIMEDOUT') : finish({ kind: 'timeout' }))
    const timer = setTimeout(onTimeout, bound.timeoutMs)
    bound.signal.addEventListener('abort', onTimeout)
    if (bound.signal.aborted) onTimeout()
    socket.on('error', (error: NodeJS.ErrnoException) => fail(error.code ?? error.message))
    socket.once('close', () => fail('ECONNRESET'))
    socket.once('secureConnect', () => {
      const chain = chainOf(socket)
      const [leaf] = chain
      if (leaf) finish({ kind: 'secured', stream: socket, facts: describe(socket, leaf, chain, host, trust) })
      else fail('no certificate')
    })
  })
}

function describe(
  socket: TLSSocket,
  leaf: X509Certificate,
  chain: readonly X509Certificate[],
  host: string,
  trust: TlsTrust,
): TlsFacts {
  // With rejectUnauthorized off Node keeps OpenSSL's verdict here; its type says Error, it is a code.
  const verifyError = socket.authorized ? undefined : String(socket.authorizationError)
  return {
    version: socket.getProtocol() ?? 'unknown',
    subject: nameOf(leaf.subject),
    names: dnsNamesOf(leaf.subjectAltName),
    nameMatches:
      (isIP(host) === 0 ? leaf.checkHost(host, { subject: 'never' }) : leaf.checkIP(host)) !== undefined,
    issuer: nameOf(leaf.issuer),
    validFrom: leaf.validFromDate.toISOString(),
    validTo: leaf.validToDate.toISOString(),
    trust: verifyError === undefined ? 'public' : trustOf(chain, trust),
    ...(verifyError !== undefined && { verifyError }),
  }
}

/** What the peer sent, its own certificate first. */
function chainOf(socket: TLSSocket): readonly X509Certificate[] {
  const chain: X509Certificate[] = []
  const seen = new Set<string>()
  let certificate: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true)
  // The last one is its own issuer.
  while (certificate?.raw && !seen.has(certificate.fingerprint256)) {
    seen.add(certificate.fingerprint256)
    chain.push(new X509Certificate(certificate.raw))
    certificate = certificate.issuerCertificate
  }
  return chain
}

/** Passes everything on, and remembers the first bytes that came: what answered when it was not TLS. */
class Tap extends Duplex {
  seen = Buffer.alloc(0)
  readonly #inner: Duplex

  constructor(inner: Duplex) {
    super({ allowHalfOpen: true })
    this.#inner = inner
    inner.on('data', (chunk: Buffer) => {
      if (this.seen.length < KEPT_BYTES)
        this.seen = Buffer.concat([this.seen, chunk.subarray(0, KEPT_BYTES - this.seen.length)])
      if (!this.push(chunk)) inner.pause()
    })
    inner.on('end', () => this.push(null))
    inner.on('error', (error) => this.destroy(error))
    inner.on('close', () => this.destroy())
  }

  override _read(): void {
    this.#inner.resume()
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#inner.write(chunk, done)
  }

  override _final(done: (error?: Error | null) => void): void {
    this.#inner.end(() => done())
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.#inner.destroy()
    done(error)
  }
}
