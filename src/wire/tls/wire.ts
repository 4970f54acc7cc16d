/**
 * The wire of TLS listeners: node:tls in front, the portable wire behind. A client is taken on when its handshake is
 * done, or, so that it can be recorded, when its handshake failed for what it had sent; who speaks plain HTTP is taken on
 * as it is, so that it can be told.
 */
import { constants } from 'node:crypto'
import { createServer as createTcpServer, Socket } from 'node:net'
import { createSecureContext, createServer, type Server, type TLSSocket } from 'node:tls'
import { endpoint, PortableConnection } from '../portable/connection.ts'
import { listenOn, TCP_OPTIONS } from '../portable/listen.ts'
import { createPortableWire } from '../portable/wire.ts'
import type { ClientCertificate, Endpoint, Wire } from '../types.ts'
import { certificateNames } from './certificate-names.ts'

export interface TlsFiles {
  /** PEM: the listener's certificate and what leads to its root, and its key. */
  readonly cert: Buffer
  readonly key: Buffer
  /** PEM: clients must have a certificate from one of these. */
  readonly clientCa?: Buffer
}

export interface TlsWire extends Wire {
  /** Other certificates, for the handshakes to come. Whether clients have to show one stays as it was. */
  renew(files: TlsFiles): void
  /** Connections closed unanswered and unrecorded: too many handshakes at once, or not a byte in time. */
  readonly dropped: number
}

export interface TlsWireOptions extends TlsFiles {
  /** What a handshake may take. */
  readonly handshakeTimeoutMs: number
  /** Several processes listen on the address. */
  readonly reusePort?: boolean
  readonly onAcceptPaused?: (code: string) => void
}

/** Handshakes under way at once, and how many of them for one address; more are dropped unanswered. */
const MAX_HANDSHAKES = 1024
const MAX_HANDSHAKES_PER_CLIENT = 64

/** Throws where certificate and key cannot be read, or do not belong together. */
export function checkTlsFiles(files: TlsFiles): void {
  createSecureContext(contextOf(files))
}

function contextOf({ cert, key, clientCa }: TlsFiles) {
  return {
    cert,
    key,
    minVersion: 'TLSv1.2' as const,
    // OpenSSL calls a resumed session verified whatever its client has shown: so each handshake is a whole one.
    secureOptions: constants.SSL_OP_NO_TICKET,
    ...(clientCa && { ca: clientCa }),
  }
}

export function createTlsWire(options: TlsWireOptions): TlsWire {
  let context = contextOf(options)
  const handshake = {
    handshakeTimeout: options.handshakeTimeoutMs,
    ALPNProtocols: ['http/1.1'],
    // Who has no certificate is told so in HTTP, and recorded; see `certificateOf`.
    ...(options.clientCa && { requestCert: true, rejectUnauthorized: false }),
  }
  const servers = new Set<Server>()
  let dropped = 0
  return {
    ...createPortableWire(),
    get dropped() {
      return dropped
    },
    renew(files) {
      context = contextOf(files)
      for (const server of servers) server.setSecureContext(context)
    },
    async listen(address, onConnection) {
      const handshakes = new Handshakes(options.handshakeTimeoutMs, (socket, remote) => {
        if (socket.bytesRead === 0) dropped += 1
        else onConnection(new PortableConnection(socket, { remote, broken: 'ERR_TLS_HANDSHAKE_TIMEOUT' }))
        socket.destroy()
      })
      const server = createServer({ ...context, ...handshake })
      server.on('secureConnection', (socket) => {
        const remote = handshakes.end(below(socket))
        const certificate = options.clientCa && certificateOf(socket)
        onConnection(new PortableConnection(socket, { remote, certificate }))
      })
      server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
        const remote = handshakes.end(below(socket))
        // Port checks, and clients that hang up, have asked for nothing.
        if (error.code?.startsWith('ERR_SSL_')) {
          onConnection(new PortableConnection(socket, { remote, broken: error.code }))
        }
        socket.destroy()
      })
      const listener = createTcpServer(TCP_OPTIONS, (socket) => {
        if (!handshakes.begin(socket)) {
          dropped += 1
          socket.destroy()
          return
        }
        onFirstBytes(socket, (bytes) => {
          if (isHttp(bytes)) {
            const remote = handshakes.end(socket)
            onConnection(new PortableConnection(socket, { remote, broken: 'ERR_SSL_HTTP_REQUEST' }))
          } else {
            // node:tls reads what is buffered first.
            socket.unshift(bytes)
            server.emit('connection', socket)
          }
        })
      })
      const listening = await listenOn(listener, address, options)
      servers.add(server)
      return {
        endpoint: listening.endpoint,
        close() {
          servers.delete(server)
          return listening.close()
        },
      }
    },
  }
}

/** Calls back once, with the socket paused; a client that hangs up before is gone without a word. */
function onFirstBytes(socket: Socket, then: (bytes: Buffer) => void): void {
  const destroy = (): void => void socket.destroy()
  socket.on('error', destroy)
  socket.once('end', destroy)
  socket.once('data', (bytes: Buffer) => {
    socket.pause()
    socket.off('error', destroy)
    socket.off('end', destroy)
    then(bytes)
  })
}

/** No record of TLS begins with a capital letter, and every request of HTTP does. */
function isHttp(bytes: Buffer): boolean {
  const [first = 0] = bytes
  return first >= 0x41 && first <= 0x5a
}

/**
 * Counts handshakes, so that who only begins them takes nothing from the others, and ends those that take too long, from
 * the first moment on: the time that node:tls gives a handshake begins with its first byte.
 */
class Handshakes {
  /** Weak, since what V8 keeps of a map's former tables would keep them (proxy/bag.ts tells of that). */
  readonly #clients = new WeakMap<Socket, { readonly remote: Endpoint; readonly timer: NodeJS.Timeout }>()
  #underWay = 0
  readonly #perClient = new Map<string, number>()
  readonly #timeoutMs: number
  readonly #onTimeout: (socket: Socket, remote: Endpoint) => void

  constructor(timeoutMs: number, onTimeout: (socket: Socket, remote: Endpoint) => void) {
    this.#timeoutMs = timeoutMs
    this.#onTimeout = onTimeout
  }

  begin(socket: Socket): boolean {
    const { address, port } = endpoint(socket.remoteAddress, socket.remotePort)
    const own = this.#perClient.get(address) ?? 0
    if (address === '' || this.#underWay >= MAX_HANDSHAKES || own >= MAX_HANDSHAKES_PER_CLIENT) return false
    const remote = { address, port }
    const timer = setTimeout(() => {
      this.end(socket)
      this.#onTimeout(socket, remote)
    }, this.#timeoutMs)
    this.#clients.set(socket, { remote, timer })
    this.#underWay += 1
    this.#perClient.set(address, own + 1)
    // However it ends.
    socket.once('close', () => this.end(socket))
    return true
  }

  /** Whose handshake it was; the socket of a client that is gone no longer knows. */
  end(socket: Socket | undefined): Endpoint | undefined {
    const client = socket && this.#clients.get(socket)
    if (!client) return undefined
    clearTimeout(client.timer)
    this.#clients.delete(socket)
    this.#underWay -= 1
    const { address } = client.remote
    const left = (this.#perClient.get(address) ?? 1) - 1
    if (left > 0) this.#perClient.set(address, left)
    else this.#perClient.delete(address)
    return client.remote
  }
}

/** The socket below, which node:tls keeps under this name and documents nowhere. */
function below(socket: TLSSocket): Socket | undefined {
  const parent: unknown = Reflect.get(socket, '_parent')
  return parent instanceof Socket ? parent : undefined
}

function certificateOf(socket: TLSSocket): ClientCertificate {
  const certificate = socket.getPeerX509Certificate()
  if (!certificate) return { problem: 'the client showed no certificate' }
  if (!socket.authorized) return { problem: `the certificate is not valid: ${problemOf(socket)}` }
  return { names: certificateNames(certificate) }
}

/** OpenSSL's word for it, such as CERT_HAS_EXPIRED. Typed as an Error, and a string in truth. */
function problemOf(socket: TLSSocket): string {
  const problem: unknown = socket.authorizationError
  return problem instanceof Error ? problem.message : String(problem)
}
