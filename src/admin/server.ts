/**
 * The admin listener: node:http with small limits. It shares a thread with the tunnels, so what it may take is bounded:
 * so many connections, so many answers a second; who asks for more waits. Probes get through all the same: who makes them
 * fail has the gate restarted.
 */
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ListenAddress } from '../config/units.ts'
import { createServer, STATUS_CODES } from '../http.ts'
import type { Endpoint } from '../wire/types.ts'
import { checkOrigin, checkToken } from './access.ts'
import { EventStreams } from './event-stream.ts'
import { Pace, PaceByAddress } from './pace.ts'
import { Places } from './places.ts'
import { COMMON_HEADERS, problem, type Reply } from './reply.ts'
import { ROUTES } from './routes.ts'
import type { AdminServices } from './services.ts'

const MAX_CONNECTIONS = 128
const MAX_URL = 2048
/** Answers a second. */
const ANSWERS = { perSecond: 50, burst: 100 }
/** Probes have a measure of their own, for each address: nobody's questions make the gate look dead to another. */
const PROBES = { perSecond: 50, burst: 50 }
/** Connections from one address once all places are taken, each instead of an older one. */
const REPLACED = { perSecond: 100, burst: 128 }
/** How long who asks too often waits for being told so. */
const HELD_MS = 1000

const LIMITS = {
  maxHeaderSize: 8192,
  headersTimeout: 5000,
  requestTimeout: 10_000,
  keepAliveTimeout: 5000,
  connectionsCheckingInterval: 1000,
}
/** A connection on which nothing moves; streams have a heartbeat. */
const SILENCE_MS = 30_000

export class AdminServer {
  readonly endpoint: Endpoint
  readonly #server: Server
  readonly #places = new Places(MAX_CONNECTIONS, REPLACED)
  readonly #answers = new Pace(ANSWERS)
  readonly #probes = new PaceByAddress(PROBES)
  #services: AdminServices | undefined
  #streams: EventStreams | undefined

  private constructor(server: Server, endpoint: Endpoint) {
    this.#server = server
    this.endpoint = endpoint
    server.on('connection', (socket: Socket) => this.#places.take(socket, performance.now()))
    server.on('request', (request, response) => this.#take(request, response))
  }

  /** Takes the address, and says 503 until {@link serve}. Rejects with the system's error when it cannot listen. */
  static listen(address: ListenAddress): Promise<AdminServer> {
    const server = createServer(LIMITS)
    server.timeout = SILENCE_MS
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => answerBroken(error, socket))
    server.on('connect', (_request, socket: Duplex) => endWith(socket, NOT_THE_PROXY))
    return new Promise((resolve, reject) => {
      server.once('error', reject)
      server.listen({ host: address.host, port: address.port, exclusive: true }, () => {
        const bound = server.address()
        const port = bound !== null && typeof bound === 'object' ? bound.port : address.port
        resolve(new AdminServer(server, { address: address.host, port }))
      })
    })
  }

  /** The gate runs: from now on requests are answered. */
  serve(services: AdminServices): void {
    this.#streams = new EventStreams(services.trail)
    this.#services = services
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    this.#places.use(request.socket)
    if (!this.#services || !this.#streams) {
      send(response, STARTING, request.method === 'HEAD')
      return
    }
    answer(request, this.#services, this.#streams, response, () => this.#mayAsk(request)).then(
      (reply) => {
        if (reply) send(response, reply, request.method === 'HEAD')
        else this.#places.keep(request.socket)
      },
      (error: unknown) => {
        process.emitWarning(error instanceof Error ? error : String(error))
        send(response, problem(500, 'internal_error', 'the admin side met an unexpected error'), false)
      },
    )
  }

  #mayAsk({ url = '', socket }: IncomingMessage): boolean {
    const nowMs = performance.now()
    return /^\/(?:healthz|readyz)(?:\?|$)/.test(url)
      ? this.#probes.take(socket.remoteAddress ?? '', nowMs)
      : this.#answers.take(nowMs)
  }

  close(): Promise<void> {
    this.#streams?.closeAll()
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeAllConnections()
    return closed
  }
}

const STARTING = problem(503, 'starting', 'the gate is starting; ask again in a moment')
const NOT_THE_PROXY = problem(
  405,
  'not_the_proxy',
  'this is the admin listener, not the proxy; /api/status says where that listens',
)

/** Nothing when the answer is a stream, and has begun. */
async function answer(
  request: IncomingMessage,
  services: AdminServices,
  streams: EventStreams,
  response: ServerResponse,
  mayAsk: () => boolean,
): Promise<Reply | undefined> {
  const { url = '', method = '', headers } = request
  const mark = url.indexOf('?')
  const path = mark === -1 ? url : url.slice(0, mark)
  const route = ROUTES.get(path)
  if (!mayAsk()) {
    response.setHeader('Connection', 'close')
    await pause(response)
    return { ...problem(429, 'too_many_requests', 'ask less often'), headers: { 'Retry-After': '1' } }
  }
  if (Number(headers['content-length'] ?? 0) > 0 || headers['transfer-encoding'] !== undefined) {
    // Not read, so what follows on this connection could not be told from it.
    response.setHeader('Connection', 'close')
    return problem(413, 'body_not_expected', 'no request here has a body')
  }
  const foreign = checkOrigin(request, services.hosts)
  if (foreign) return foreign
  if (!url.startsWith('/')) return NOT_THE_PROXY
  if (url.length > MAX_URL)
    return problem(414, 'url_too_long', `a request target has at most ${MAX_URL} bytes`)
  if (!route) return problem(404, 'not_found', `there is nothing here; the API is described at /openapi.yaml`)
  if (method !== route.method && !(method === 'HEAD' && route.method === 'GET')) {
    return {
      ...problem(405, 'method_not_allowed', `this answers ${route.method} and nothing else`),
      headers: { Allow: route.method === 'GET' ? 'GET, HEAD' : route.method },
    }
  }
  if (route.for === 'operator' && services.token === undefined) {
    return problem(
      403,
      'token_not_set',
      'what changes something needs a token; set admin.token or admin.tokenFile',
    )
  }
  const unknown = route.for === 'anybody' ? undefined : checkToken(headers.authorization, services.token)
  if (unknown) return unknown
  const query = new URLSearchParams(mark === -1 ? '' : url.slice(mark + 1))
  const reply = await route.answer(services, query)
  if (reply !== 'events') return reply
  if (method === 'HEAD') return { status: 200, type: 'text/event-stream; charset=utf-8', body: '' }
  return streams.start(response, query.get('actions'))
}

function pause(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, HELD_MS)
    response.once('close', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}

function send(response: ServerResponse, { status, type, body, headers }: Reply, headOnly: boolean): void {
  if (response.headersSent || response.destroyed) return
  response.writeHead(status, {
    ...COMMON_HEADERS,
    ...headers,
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
  })
  response.end(headOnly ? undefined : body)
}

/** What node:http could not read, it could not answer either. */
function answerBroken({ code }: NodeJS.ErrnoException, socket: Duplex): void {
  if (code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  if (code === 'HPE_HEADER_OVERFLOW') {
    endWith(
      socket,
      problem(431, 'head_too_large', `a request head has at most ${LIMITS.maxHeaderSize} bytes`),
    )
  } else if (code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    endWith(socket, problem(408, 'too_slow', 'the request did not arrive in time'))
  } else {
    endWith(socket, problem(400, 'malformed_request', 'this is not a well-formed HTTP/1.1 request'))
  }
}

/** For sockets that have no response of their own. */
function endWith(socket: Duplex, { status, type, body }: Reply): void {
  socket.on('error', () => undefined)
  const fields = {
    ...COMMON_HEADERS,
    'Content-Type': type,
    'Content-Length': Buffer.byteLength(body),
    Connection: 'close',
  }
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`)
  socket.end(`HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ''}\r\n${lines.join('')}\r\n${String(body)}`)
}
