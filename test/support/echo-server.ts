/** An upstream on 127.0.0.1 (unless told otherwise) that sends back what it gets and remembers it, connection by connection. */
import { createServer, type Server, type Socket } from 'node:net'

export class EchoServer {
  readonly port: number
  /** What each connection sent, in the order in which they came. */
  readonly received: Buffer[] = []
  readonly #server: Server
  readonly #sockets = new Set<Socket>()

  readonly #remember: boolean

  private constructor(server: Server, port: number, remember: boolean) {
    this.#server = server
    this.#remember = remember
    this.port = port
    server.on('connection', (socket) => this.#serve(socket))
  }

  static async start(host = '127.0.0.1', { remember = true } = {}): Promise<EchoServer> {
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen({ port: 0, host, backlog: 4096 }, resolve)
    })
    const bound = server.address()
    return new EchoServer(server, typeof bound === 'object' && bound !== null ? bound.port : 0, remember)
  }

  /** Connections so far, open or not. */
  get connections(): number {
    return this.received.length
  }

  get open(): number {
    return this.#sockets.size
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve())
    })
  }

  #serve(socket: Socket): void {
    const index = this.#remember ? this.received.push(Buffer.alloc(0)) - 1 : 0
    this.#sockets.add(socket)
    socket.on('close', () => this.#sockets.delete(socket))
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      if (this.#remember)
        this.received[index] = Buffer.concat([this.received[index] ?? Buffer.alloc(0), chunk])
      socket.write(chunk)
    })
    socket.on('end', () => socket.end())
  }
}
