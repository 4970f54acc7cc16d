/** The host of one row: takes an upload, gives a download, and is broken in the row's way from a moment on. */
import { createHash, type Hash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { until } from '../support/deadline.ts'
import { HeldListener } from './held-listener.ts'
import type { Fault, Row } from './matrix.ts'

export const LATENCY_MS = 60
export const SLOW_CLOSE_MS = 250
export const PIECES = 16
export const PIECE_MS = 8

export class FaultHost {
  readonly port: number
  readonly held: HeldListener | undefined
  received = 0
  readonly #row: Row
  readonly #download: Buffer
  readonly #server: Server | undefined
  readonly #hash: Hash = createHash('sha256')
  #skip: number
  #socket: Socket | undefined
  #fault: Fault | undefined
  #finished = false

  private constructor(
    row: Row,
    download: Buffer,
    helloBytes: number,
    listener: { server?: Server; held?: HeldListener; port: number },
  ) {
    this.#row = row
    this.#download = download
    this.#skip = helloBytes
    this.#server = listener.server
    this.held = listener.held
    this.port = listener.port
    listener.server?.on('connection', (socket: Socket) => this.#take(socket))
  }

  /** @param helloBytes how much of what comes is the ClientHello, and no upload */
  static async open(row: Row, download: Buffer, helloBytes: number): Promise<FaultHost> {
    const silent = row.side === 'host' && row.fault === 'black hole'
    const early = row.stage !== 'after the 200' && row.stage !== 'mid hello' && row.stage !== 'mid stream'
    if (row.stage === 'during dial' || (silent && early)) {
      const held = await HeldListener.open()
      return new FaultHost(row, download, helloBytes, { held, port: held.port })
    }
    const server = createServer({ allowHalfOpen: true, noDelay: true })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const bound = server.address()
    const port = typeof bound === 'object' ? (bound?.port ?? 0) : 0
    return new FaultHost(row, download, helloBytes, { server, port })
  }

  get hash(): string {
    return this.#hash.copy().digest('hex')
  }

  get finished(): boolean {
    return this.#finished
  }

  async connected(): Promise<void> {
    await until(() => this.#socket !== undefined, `the host of ${this.#row.stage} to be dialled`)
  }

  /** Lets a held dial through. */
  release(): void {
    this.held?.release((socket) => this.#take(socket))
  }

  /** Breaks it: a connection that is there now, or the one that will come. */
  break(): void {
    this.#fault = this.#row.fault
    if (this.#socket) this.#act(this.#socket)
    else if (this.#fault === 'reset') {
      // A port where nobody listens: the kernel resets who comes.
      this.#server?.close()
      this.held?.close()
    }
  }

  /** Sends the part of the download between these shares of it. */
  async send(from: number, to: number): Promise<void> {
    const { length } = this.#download
    const part = this.#download.subarray(length * from, length * to)
    if (this.#fault === 'latency') await sleep(LATENCY_MS)
    if (this.#fault === 'bandwidth limit') {
      const size = Math.ceil(part.length / PIECES)
      for (let at = 0; at < part.length; at += size) {
        this.#write(part.subarray(at, at + size))
        await sleep(PIECE_MS)
      }
    } else this.#write(part)
  }

  end(): void {
    this.#socket?.end()
  }

  close(): void {
    this.#socket?.destroy()
    this.#server?.close()
    this.held?.close()
  }

  #write(bytes: Buffer): void {
    if (this.#socket?.writable) this.#socket.write(bytes)
  }

  #take(socket: Socket): void {
    this.#socket = socket
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      this.received += chunk.length
      this.#hash.update(chunk.subarray(Math.min(this.#skip, chunk.length)))
      this.#skip -= Math.min(this.#skip, chunk.length)
    })
    socket.on('end', () => {
      this.#finished = true
    })
    if (this.#fault !== undefined) this.#act(socket)
  }

  #act(socket: Socket): void {
    switch (this.#fault) {
      case 'reset':
        socket.resetAndDestroy()
        break
      case 'half-close':
        socket.end()
        break
      case 'slow close':
        setTimeout(() => socket.destroy(), SLOW_CLOSE_MS)
        break
      case 'truncated stream':
        socket.write(this.#download.subarray(0, this.#download.length / 4), () => socket.destroy())
        break
      case 'black hole':
        socket.removeAllListeners('data')
        socket.pause()
        break
      default:
        break
    }
  }
}
