/**
 * One request and its answer, between the client's stream and the host's. Node's own server and client parse, and
 * http-proxy joins them; here is what bounds, counts and ends them. The server never listens: it is given the one
 * connection, and serves the first request on it.
 */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { Agent } from 'node:https'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { TLSSocket } from 'node:tls'
import type httpProxy from 'http-proxy'
import type { Clock } from '../clock.ts'
import { createServer } from '../http.ts'
import type { CloseCode } from '../policy/reasons.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import type { Relay } from '../wire/types.ts'
import { tidyAnswer } from './answer-head.ts'

export interface ExchangeOptions {
  readonly client: Duplex
  /** Verified to be the host. */
  readonly upstream: TLSSocket
  readonly target: { readonly host: string; readonly port: number }
  readonly createProxyServer: typeof httpProxy.createProxyServer
  readonly idleTimeoutMs: number
  readonly clock: Clock
  /** The reply to a refused client; nothing where none is possible. */
  readonly formatReply: (why: Refusal) => Buffer | undefined
  readonly onBug: (error: unknown) => void
  /** Once, when the client's connection is closed. A refusal: the client was told so, or was gone. */
  readonly onEnd: (end: CloseCode | Refusal, status: number | undefined) => void
}

/** Larger than any head that the strict parser lets through, and than what is added to it. */
const MAX_HEAD_BYTES = 32 * 1024
/** How long a refused client may take to read its reply and close. */
const LINGER_MS = 2000

export class Exchange implements Relay {
  /** Of the request's body. */
  bytesUp = 0
  /** Of the answer's body. */
  bytesDown = 0
  readonly #options: ExchangeOptions
  #end: CloseCode | Refusal | undefined
  #request: IncomingMessage | undefined
  #response: ServerResponse | undefined
  /** What the host answers; nothing before it does. */
  #answered: IncomingMessage | undefined
  #status: number | undefined
  #finished = false
  #lastMoveMs: number
  #cancelTimer: () => void = () => undefined

  constructor(options: ExchangeOptions) {
    this.#options = options
    this.#lastMoveMs = options.clock.monotonicMs()
    const { client, upstream } = options
    client.once('close', this.#closed)
    client.on('drain', this.#moved)
    upstream.once('close', () => {
      if (!this.#answered?.complete) this.#fail('the connection ended')
    })
    this.#watch(options.idleTimeoutMs)
    const server = createServer({ maxHeaderSize: MAX_HEAD_BYTES }, (request, response) => {
      // A second request on the connection is nobody's; it is closed behind the first.
      if (!this.#request) this.#serve(request, response)
    })
    server.on('clientError', (error: NodeJS.ErrnoException) => this.#misread(error.code ?? ''))
    server.emit('connection', client)
    client.resume()
  }

  close(code: CloseCode): void {
    this.#end ??= code
    this.#cut()
  }

  #serve(request: IncomingMessage, response: ServerResponse): void {
    const { upstream, target, createProxyServer, onBug } = this.#options
    this.#request = request
    this.#response = response
    // Answered already: Node has told the client to go on.
    delete request.headers.expect
    response.once('finish', () => {
      this.#finished = true
    })
    // Not by any name: `toProxy` takes the path as it is, and the agent has the one connection.
    const agent = new OneConnection(upstream)
    const proxy = createProxyServer({ target: { protocol: 'https:', ...target }, agent, toProxy: true })
    // Even `toProxy` loses the `?` of an empty query, and signed URLs are signed with it.
    proxy.on('proxyReq', (outgoing, { url }) => {
      if (url !== undefined) outgoing.path = url
    })
    proxy.on('proxyRes', (answer) => this.#answer(answer))
    try {
      proxy.web(request, response, {}, (error) => this.#fail(codeOf(error)))
      // Only now: this sets the body flowing, and with it the head goes out, which `proxyReq` has to come before.
      request.on('data', (chunk: Buffer) => {
        this.bytesUp += chunk.length
        this.#moved()
      })
    } catch (error) {
      onBug(error)
      this.#refuse(refusal('internal_error'))
    }
  }

  /** The head of the answer is here, and is about to be copied. */
  #answer(answer: IncomingMessage): void {
    this.#answered = answer
    answer.once('error', () => this.#fail('the answer is cut short'))
    if (!tidyAnswer(answer)) {
      this.#fail('no such status')
      answer.destroy()
      return
    }
    this.#status = answer.statusCode
    answer.on('data', (chunk: Buffer) => {
      this.bytesDown += chunk.length
      this.#moved()
    })
  }

  #moved = (): void => {
    this.#lastMoveMs = this.#options.clock.monotonicMs()
  }

  #watch(ms: number): void {
    const { clock, idleTimeoutMs } = this.#options
    this.#cancelTimer = clock.setTimer(() => {
      const leftMs = this.#lastMoveMs + idleTimeoutMs - clock.monotonicMs()
      if (leftMs > 0) this.#watch(leftMs)
      else if (this.#request?.complete && !this.#begun) this.#refuse(refusal('upstream_timeout'))
      else this.close('idle_timeout')
    }, ms)
  }

  /** What Node's parser says of the client's bytes. */
  #misread(code: string): void {
    // Bytes behind the one request; and broken connections, whose end is on its way.
    if (!code.startsWith('HPE_') || code === 'HPE_CLOSED_CONNECTION') return
    if (code === 'HPE_INVALID_EOF_STATE') this.close('client_reset')
    else this.#refuse(refusal('malformed_request', { detail: `the body: ${code}` }))
  }

  /** The host is at fault. */
  #fail(detail: string): void {
    // The client was first: then its end is what breaks the other side.
    if (this.#options.client.destroyed) return
    this.#refuse(refusal('upstream_failed', { detail }))
  }

  /** Tells the client, where its answer has not begun. */
  #refuse(why: Refusal): void {
    if (this.#end !== undefined) return
    if (this.#begun) {
      this.close('upstream_reset')
      return
    }
    this.#end = why
    const { client, upstream, clock, formatReply } = this.#options
    upstream.destroy()
    const reply = formatReply(why)
    if (!reply) {
      client.destroy()
      return
    }
    client.end(reply)
    // Unread bytes would make the kernel reset the connection, and eat the reply.
    this.#request?.unpipe()
    this.#request?.resume()
    this.#cancelTimer()
    this.#cancelTimer = clock.setTimer(() => client.destroy(), LINGER_MS)
  }

  get #begun(): boolean {
    return this.#response?.headersSent ?? false
  }

  /** Closes both. A client in the middle of its answer is reset: a plain end could look like the answer's. */
  #cut(): void {
    const { client, upstream } = this.#options
    upstream.destroy()
    if (this.#begun && !this.#finished && client instanceof Socket && !(client instanceof TLSSocket)) {
      client.resetAndDestroy()
    } else client.destroy()
  }

  #closed = (): void => {
    this.#cancelTimer()
    this.#options.upstream.destroy()
    this.#options.onEnd(this.#end ?? (this.#finished ? 'completed' : 'client_reset'), this.#status)
  }
}

/** Gives http-proxy the connection that is there. */
class OneConnection extends Agent {
  readonly #socket: TLSSocket

  constructor(socket: TLSSocket) {
    super({ keepAlive: false })
    this.#socket = socket
  }

  override createConnection(): Duplex {
    return this.#socket
  }
}

function codeOf(error: NodeJS.ErrnoException): string {
  return error.code ?? 'no reason given'
}
