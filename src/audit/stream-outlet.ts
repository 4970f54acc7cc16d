/**
 * Messages over TCP or TLS to a log server that answers nothing (RFC 6587, RFC 5425). What has been handed to the system
 * when the connection breaks may or may not have arrived: the last of it is sent again over the next one, so that the
 * server has rather a record twice than not at all. The hash in each tells.
 */
import type { Socket } from 'node:net'
import type { TLSSocket } from 'node:tls'
import type { Clock } from '../clock.ts'
import type { Outlet, Sent } from './queued-sink.ts'

export interface StreamOutletOptions {
  /** Starts a connection. */
  readonly connect: () => Socket | TLSSocket
  /** From a line to the bytes on the wire. */
  readonly frame: (line: string) => Buffer
  readonly clock: Clock
}

interface Framed {
  readonly bytes: Buffer
  readonly sentMs: number
}

/** A server that takes nothing for so long is gone. */
const STALL_MS = 30_000
const RESUME_MS = 1000
/** Bytes handed over at a time: what has been taken counts, and the rest can wait. */
const WRITE_BYTES = 256 * 1024
/** What may be sent again: it was handed over so lately, and is no more than that. */
const UNSURE_MS = 60_000
const UNSURE_BYTES = 1024 * 1024

export class StreamOutlet implements Outlet {
  readonly #options: StreamOutletOptions
  #socket: Socket | undefined
  /** Handed over on this connection, lately. */
  #unsure: Framed[] = []
  #unsureBytes = 0
  /** Handed over on a connection that broke. */
  #again: readonly Framed[] = []
  /** Called once with why the connection is gone, or without when the bytes under way are out. */
  #onDone: ((failure?: string) => void) | undefined
  /** What comes when that has been told. */
  #next: (() => void) | undefined
  #closing = false

  constructor(options: StreamOutletOptions) {
    this.#options = options
  }

  send(lines: readonly string[], done: (sent: Sent) => void): void {
    if (this.#onDone) {
      this.#next = () => this.send(lines, done)
      return
    }
    const frames: Buffer[] = []
    let bytes = 0
    for (const line of lines) {
      if (bytes >= WRITE_BYTES) break
      const frame = this.#options.frame(line)
      frames.push(frame)
      bytes += frame.length
    }
    this.#write(frames, (failure) => {
      done(failure === undefined ? { delivered: frames.length } : { delivered: 0, failure })
    })
  }

  /** Waits for the server to close its side, too: then it has read everything. */
  async close(timeoutMs: number): Promise<boolean> {
    this.#closing = true
    const socket = this.#socket
    if (!socket) return this.#again.length === 0
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        resolve(socket.writableFinished)
        socket.destroy()
      }, timeoutMs)
      socket.once('close', (failed: boolean) => {
        clearTimeout(timer)
        resolve(!failed)
      })
      socket.end()
    })
  }

  #write(frames: readonly Buffer[], done: (failure?: string) => void): void {
    this.#onDone = (failure) => {
      this.#onDone = undefined
      done(failure)
      const next = this.#next
      this.#next = undefined
      next?.()
    }
    const socket = this.#socket ?? this.#open()
    const all = [...this.#again.map(({ bytes }) => bytes), ...frames]
    socket.write(Buffer.concat(all), (error) => {
      // What went wrong, `close` tells.
      if (error || socket !== this.#socket) return
      this.#again = []
      this.#remember(all)
      this.#onDone?.()
    })
  }

  #open(): Socket {
    const { connect } = this.#options
    const socket = connect()
    this.#socket = socket
    let failure = 'ECLOSED'
    socket.setKeepAlive(true, STALL_MS)
    socket.setTimeout(STALL_MS, () => {
      // Nothing to send is no stall.
      if (this.#onDone) socket.destroy(Object.assign(new Error('no progress'), { code: 'ETIMEDOUT' }))
    })
    // A log server says nothing; reading is how its end is noticed.
    socket.resume()
    socket.on('error', (error) => {
      failure = 'code' in error ? String(error.code) : error.message
    })
    socket.on('close', () => this.#onClosed(failure))
    socket.unref()
    return socket
  }

  #onClosed(failure: string): void {
    this.#socket = undefined
    const fromMs = this.#options.clock.monotonicMs() - UNSURE_MS
    this.#again = [...this.#again, ...this.#unsure.filter(({ sentMs }) => sentMs >= fromMs)]
    this.#unsure = []
    this.#unsureBytes = 0
    if (this.#onDone) this.#onDone(failure)
    else if (this.#again.length > 0 && !this.#closing) this.#resume()
  }

  /** Nothing new is to be sent, so nobody else would connect. */
  #resume(): void {
    this.#options.clock.setTimer(() => {
      if (this.#again.length === 0 || this.#onDone || this.#closing) return
      this.#write([], (failure) => {
        if (failure !== undefined && !this.#next) this.#resume()
      })
    }, RESUME_MS)
  }

  #remember(frames: readonly Buffer[]): void {
    const sentMs = this.#options.clock.monotonicMs()
    for (const bytes of frames) {
      this.#unsure.push({ bytes, sentMs })
      this.#unsureBytes += bytes.length
    }
    let drop = 0
    while (this.#unsureBytes > UNSURE_BYTES) {
      this.#unsureBytes -= this.#unsure[drop]?.bytes.length ?? 0
      drop += 1
    }
    if (drop > 0) this.#unsure.splice(0, drop)
  }
}
