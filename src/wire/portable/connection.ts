import type { Socket } from 'node:net'
import type { ReadBuffer } from './read-buffer.ts'
import type { ClientCertificate, Connection, Endpoint, ReadResult } from '../types.ts'

/** How much a peer may send ahead of being read; one more chunk (at most 64 KiB) can be on its way. */
const READ_AHEAD_BYTES = 64 * 1024
/** How much a refused client may still send before the politeness ends. */
const MAX_DISCARD_BYTES = 256 * 1024

/** A node:net socket behind the wire's interface. Listeners are attached before anything can happen on it. */
export class PortableConnection implements Connection {
  readonly socket: Socket
  readonly remote: Endpoint
  readonly certificate: ClientCertificate | undefined
  #gone: Promise<void> | undefined
  #setGone: (() => void) | undefined
  #chunks: Buffer[] = []
  #buffered = 0
  #ended = false
  #spoke = false
  #broken: string | undefined
  #reader: ((result: ReadResult) => void) | undefined
  readonly #buffer: ReadBuffer | undefined
  #onData = (chunk: Buffer): void => this.#receive(chunk)
  #onEnd = (): void => {
    this.#ended = true
    this.#reader?.({ kind: 'end' })
  }

  /** @param more what is known otherwise: who it is, its certificate, or why its handshake failed */
  constructor(
    socket: Socket,
    more: {
      readonly remote?: Endpoint | undefined
      readonly certificate?: ClientCertificate | undefined
      readonly broken?: string
      /** What the socket reads into, where it emits no `data`. */
      readonly buffer?: ReadBuffer
    } = {},
  ) {
    this.socket = socket
    this.#buffer = more.buffer
    this.certificate = more.certificate
    this.remote = more.remote ?? endpoint(socket.remoteAddress, socket.remotePort)
    socket.on('error', (error: NodeJS.ErrnoException) => this.#break(error.code ?? error.message))
    socket.on('close', () => {
      if (!this.#ended || !socket.writableFinished) this.#break('ECONNRESET')
    })
    if (this.#buffer) this.#buffer.onBytes = (bytes) => this.#receive(Buffer.from(bytes))
    else socket.on('data', this.#onData)
    socket.on('end', this.#onEnd)
    if (more.broken !== undefined) this.#break(more.broken)
  }

  get gone(): Promise<void> {
    this.#gone ??=
      this.#broken === undefined
        ? new Promise((resolve) => {
            this.#setGone = resolve
          })
        : Promise.resolve()
    return this.#gone
  }

  get spoke(): boolean {
    return this.#spoke
  }

  get ended(): boolean {
    return this.#ended
  }

  get broken(): string | undefined {
    return this.#broken
  }

  read(timeoutMs: number): Promise<ReadResult> {
    const chunk = this.#chunks.shift()
    if (chunk) {
      this.#buffered -= chunk.length
      if (this.#buffered < READ_AHEAD_BYTES) this.socket.resume()
      return Promise.resolve({ kind: 'data', bytes: chunk })
    }
    if (this.#broken !== undefined) return Promise.resolve({ kind: 'broken', code: this.#broken })
    if (this.#ended) return Promise.resolve({ kind: 'end' })
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#reader?.({ kind: 'timeout' }), Math.max(0, timeoutMs))
      this.#reader = (result) => {
        clearTimeout(timer)
        this.#reader = undefined
        resolve(result)
      }
    })
  }

  unread(bytes: Buffer): void {
    if (bytes.length === 0) return
    this.#chunks.unshift(bytes)
    this.#buffered += bytes.length
  }

  write(bytes: Buffer): void {
    if (this.socket.writable) this.socket.write(bytes)
  }

  end(): void {
    this.socket.end()
  }

  finish(lingerMs: number): Promise<void> {
    const { socket } = this
    if (socket.destroyed) return Promise.resolve()
    let discarded = 0
    this.release((bytes) => {
      discarded += bytes.length
      if (discarded > MAX_DISCARD_BYTES) socket.destroy()
      return false
    })
    socket.resume()
    return new Promise((resolve) => {
      const timer = setTimeout(() => socket.destroy(), lingerMs)
      socket.once('close', () => {
        clearTimeout(timer)
        resolve()
      })
      this.end()
    })
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** Whether the socket can be used as a stream: not where it reads into a buffer of its own. */
  get streams(): boolean {
    return this.#buffer === undefined
  }

  /**
   * Hands the socket over: `onBytes` gets what comes from now on, and returns whether it still needs the bytes after that.
   * Returns what was read ahead.
   */
  release(onBytes?: (bytes: Buffer) => boolean): readonly Buffer[] {
    const buffer = this.#buffer
    if (buffer) {
      buffer.onBytes = (bytes) => {
        if (onBytes?.(bytes)) buffer.lend()
      }
    } else {
      this.socket.off('data', this.#onData)
      if (onBytes) this.socket.on('data', onBytes)
    }
    this.socket.off('end', this.#onEnd)
    const chunks = this.#chunks
    this.#chunks = []
    this.#buffered = 0
    return chunks
  }

  #receive(chunk: Buffer): void {
    this.#spoke = true
    if (this.#reader) {
      this.#reader({ kind: 'data', bytes: chunk })
      return
    }
    this.#chunks.push(chunk)
    this.#buffered += chunk.length
    if (this.#buffered >= READ_AHEAD_BYTES) this.socket.pause()
  }

  #break(code: string): void {
    this.#broken ??= code
    this.#setGone?.()
    this.#reader?.({ kind: 'broken', code: this.#broken })
  }
}

export function endpoint(address = '', port = 0): Endpoint {
  // On a dual-stack listener an IPv4 client shows as ::ffff:192.0.2.1; it is that IPv4 client.
  return {
    address: address.startsWith('::ffff:') && address.includes('.') ? address.slice(7) : address,
    port,
  }
}
