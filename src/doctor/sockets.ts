/** Connections and one exchange of HTTP/1.1 over them, everything within a time limit and given up when `signal` says so. */
import { connect as connectSocket } from 'node:net'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { dialFailure } from '../wire/dial-failure.ts'
import type { DialFailure } from '../wire/types.ts'
import { printable } from './printable.ts'
import { parseReplyHead, type ReplyHead } from './reply.ts'

export interface Bound {
  readonly timeoutMs: number
  /** Aborted when the run ends early. */
  readonly signal: AbortSignal
}

export type Connected =
  | { readonly kind: 'connected'; readonly socket: Duplex }
  | { readonly kind: 'failed'; readonly failure: DialFailure; readonly code: string }

/** Opens a TCP connection to an address (or, for a proxy, a name). Never rejects. */
export type Connect = (host: string, port: number, bound: Bound) => Promise<Connected>

/**
 * By node:net. A name is looked up as the system does it (getaddrinfo): that is how the clients of a proxy find it, by
 * way of /etc/hosts and search domains too.
 */
export const connectTcp: Connect = (host, port, { timeoutMs, signal }) =>
  new Promise((resolve) => {
    const socket: Socket = connectSocket({ host, port, noDelay: true })
    const finish = (result: Connected): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', give)
      if (result.kind === 'failed') socket.destroy()
      resolve(result)
    }
    const give = (): void => finish({ kind: 'failed', failure: 'timeout', code: 'ETIMEDOUT' })
    const timer = setTimeout(give, timeoutMs)
    signal.addEventListener('abort', give)
    if (signal.aborted) give()
    // The listener stays: an error that comes later must find somebody.
    socket.on('error', (error: NodeJS.ErrnoException) => {
      const code = codeOf(error)
      finish({ kind: 'failed', failure: dialFailure(code), code })
    })
    socket.once('connect', () => finish({ kind: 'connected', socket }))
  })

/** The code of the first cause: Happy Eyeballs wraps what each address said. */
function codeOf(error: NodeJS.ErrnoException): string {
  const inner: unknown = error instanceof AggregateError ? error.errors[0] : undefined
  if (inner instanceof Error && 'code' in inner) return String(inner.code)
  return error.code ?? error.message
}

export type Exchanged =
  | { readonly kind: 'reply'; readonly head: ReplyHead; readonly body: string }
  | { readonly kind: 'not_http'; readonly firstLine: string }
  | { readonly kind: 'timeout' }
  | { readonly kind: 'closed'; readonly code?: string }

/** More than any answer that says what it is needs. */
const MAX_HEAD_BYTES = 16 * 1024
const MAX_BODY_BYTES = 4 * 1024
/** A head without the body it announces is still an answer. */
const BODY_PATIENCE_MS = 1000

/**
 * Sends a request and reads the head of the reply, and of the body what comes in the first moment. After a 2xx to CONNECT
 * nothing more is read: what follows the head stays in the stream. Never rejects.
 */
export function exchange(stream: Duplex, request: string, bound: Bound): Promise<Exchanged> {
  const tunnel = request.startsWith('CONNECT ')
  return new Promise((resolve) => {
    let received = Buffer.alloc(0)
    let head: ReplyHead | undefined
    let bodyStart = 0
    let bodyTimer: NodeJS.Timeout | undefined

    const finish = (result: Exchanged): void => {
      clearTimeout(timer)
      clearTimeout(bodyTimer)
      bound.signal.removeEventListener('abort', onTimeout)
      stream.off('readable', read).off('end', onEnd).off('close', onEnd).off('error', onError)
      // Whatever happens to it from here on is no news.
      stream.on('error', () => undefined)
      resolve(result)
    }
    const reply = (found: ReplyHead): void =>
      finish({ kind: 'reply', head: found, body: received.toString('utf8', bodyStart) })
    const read = (): void => {
      for (let chunk = readChunk(stream); chunk !== null; chunk = readChunk(stream)) {
        received = Buffer.concat([received, chunk])
        if (!head) {
          const end = /\r?\n\r?\n/.exec(received.toString('latin1'))
          if (!end) {
            if (received.length <= MAX_HEAD_BYTES && looksLikeHttp(received)) continue
            return finish({ kind: 'not_http', firstLine: firstBytes(received) })
          }
          head = parseReplyHead(received.toString('latin1', 0, end.index))
          if (!head) return finish({ kind: 'not_http', firstLine: firstBytes(received) })
          bodyStart = end.index + end[0].length
          if (tunnel && head.status >= 200 && head.status < 300) {
            const rest = received.subarray(bodyStart)
            received = received.subarray(0, bodyStart)
            if (rest.length > 0) stream.unshift(rest)
            return reply(head)
          }
          bodyTimer = setTimeout(() => head && reply(head), BODY_PATIENCE_MS)
        }
        const length = Number(head.fields.get('content-length') ?? Number.POSITIVE_INFINITY)
        if (received.length - bodyStart >= Math.min(length, MAX_BODY_BYTES)) return reply(head)
      }
    }
    const onEnd = (): void => {
      if (head) reply(head)
      else if (received.length > 0) finish({ kind: 'not_http', firstLine: firstBytes(received) })
      else finish({ kind: 'closed' })
    }
    const onError = (error: NodeJS.ErrnoException): void =>
      head ? reply(head) : finish({ kind: 'closed', code: error.code ?? error.message })
    const onTimeout = (): void => (head ? reply(head) : finish({ kind: 'timeout' }))

    const timer = setTimeout(onTimeout, bound.timeoutMs)
    bound.signal.addEventListener('abort', onTimeout)
    stream.on('readable', read).on('end', onEnd).on('close', onEnd).on('error', onError)
    if (bound.signal.aborted) return onTimeout()
    stream.write(request)
  })
}

function readChunk(stream: Duplex): Buffer | null {
  const chunk: unknown = stream.read()
  return Buffer.isBuffer(chunk) ? chunk : null
}

function looksLikeHttp(bytes: Buffer): boolean {
  const start = bytes.toString('latin1', 0, 5)
  return 'HTTP/'.startsWith(start)
}

export function firstBytes(bytes: Buffer): string {
  const text = bytes.toString('latin1', 0, 200)
  return printable(text.split(/\r?\n/)[0] ?? '', 80)
}
