/** Others who read ClientHellos: a TLS server of Node (OpenSSL) on a real socket, and the package read-tls-client-hello. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { PassThrough } from 'node:stream'
import { createServer, createSecureContext } from 'node:tls'
import { readTlsClientHello } from 'read-tls-client-hello'
import { z } from 'zod'
import { within } from '../support/deadline.ts'
import { selfSigned } from '../support/self-signed.ts'

/** What a reader made of a hello. `unknown`: it answered before it looked at the name. */
export type Reading =
  | { readonly kind: 'read'; readonly serverName: string | undefined }
  | { readonly kind: 'refused' }
  | { readonly kind: 'unknown' }

const REFUSED: Reading = { kind: 'refused' }

export interface TlsJudge {
  readonly port: number
  /**
   * Sends the pieces; `finAfterMs` later a FIN, which is needed where the hello may be one that never ends. One at a time.
   */
  judge(pieces: readonly Buffer[], finAfterMs?: number): Promise<Reading>
  /** The server name of the next connection that is secure on both sides. */
  nextSecure(): Promise<string>
  close(): void
}

/** The random of a HelloRetryRequest begins with this (RFC 8446 section 4.1.3). */
const RETRY = Buffer.from('cf21ad74', 'hex')

export async function openTlsJudge(): Promise<TlsJudge> {
  let tell: (reading: Reading) => void = () => undefined
  const identity = selfSigned()
  const context = createSecureContext(identity)
  const server = createServer({
    ...identity,
    minVersion: 'TLSv1',
    ciphers: 'DEFAULT@SECLEVEL=0',
    SNICallback(serverName, done) {
      tell({ kind: 'read', serverName })
      done(null, context)
    },
  })
  server.on('tlsClientError', (_, socket) => {
    tell(REFUSED)
    socket.destroy()
  })
  /** Settles when the server has nothing left of the last connection, and so nothing to say of it. */
  let forgotten: Promise<unknown> = Promise.resolve()
  server.on('connection', (socket: Socket) => {
    forgotten = new Promise((resolve) => {
      socket.once('close', resolve)
    })
  })
  server.on('secureConnection', (socket) => {
    socket.on('error', () => undefined)
    socket.resume()
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const bound = server.address()
  const port = typeof bound === 'object' ? (bound?.port ?? 0) : 0
  return {
    port,
    async judge(pieces, finAfterMs) {
      const { promise, resolve } = Promise.withResolvers<Reading>()
      tell = resolve
      const socket = connect({ port, host: '127.0.0.1', noDelay: true })
      socket.on('error', () => resolve(REFUSED))
      socket.on('close', () => resolve(REFUSED))
      socket.on('data', (bytes: Buffer) => {
        // A ServerHello without a word about a name is one for a hello without a name.
        if (bytes[0] !== 22) resolve(REFUSED)
        else if (bytes.subarray(11, 15).equals(RETRY)) resolve({ kind: 'unknown' })
        else resolve({ kind: 'read', serverName: undefined })
      })
      for (const piece of pieces) {
        socket.write(piece)
        if (pieces.length > 1) {
          await new Promise((next) => {
            setImmediate(next)
          })
        }
      }
      const fin = finAfterMs === undefined ? undefined : setTimeout(() => socket.end(), finAfterMs)
      try {
        return await within(promise, 'a verdict of node:tls')
      } finally {
        clearTimeout(fin)
        socket.destroy()
        await within(forgotten, 'the server to let go')
      }
    },
    async nextSecure() {
      const secure: unknown[] = await within(once(server, 'secureConnection'), 'a secure connection')
      return z.looseObject({ servername: z.string() }).parse(secure[0]).servername
    },
    close() {
      server.close()
    },
  }
}

/** One whole record; that is all that this package reads. */
export async function readByPackage(record: Buffer): Promise<Reading> {
  const stream = new PassThrough()
  stream.end(record)
  stream.on('error', () => undefined)
  try {
    const { extensions } = await within(readTlsClientHello(stream), 'read-tls-client-hello')
    const named = extensions.filter(({ id }) => id === 0)
    // Two of them, or one that it could not read, name nobody.
    if (named.length > 1 || named.some(({ data }) => data === null)) return REFUSED
    const [first] = named
    if (!first) return { kind: 'read', serverName: undefined }
    return {
      kind: 'read',
      serverName: z.looseObject({ serverName: z.string().optional() }).parse(first.data).serverName,
    }
  } catch {
    return REFUSED
  }
}
