import type { Socket } from 'node:net'
import type { CloseCode } from '../../policy/reasons.ts'
import type { Inspector, Relay, RelayLimits, RelayOwner } from '../types.ts'
import type { PortableConnection } from './connection.ts'

const NOTHING = Buffer.alloc(0)

/** One direction. */
interface Way {
  readonly from: Socket
  readonly to: Socket
  /** Passed on so far. */
  bytes: number
  /** What the inspector has not let pass yet. */
  held: Buffer
  ended: boolean
}

/**
 * Copies bytes both ways with backpressure and half-close: a FIN from one side is passed on after the bytes before
 * it, and the other direction goes on.
 */
export class PortableRelay implements Relay {
  readonly #owner: RelayOwner
  #code: CloseCode | undefined
  #open = 2
  #halfClosed = false
  #lastMoveMs = performance.now()
  #timer: NodeJS.Timeout
  readonly #up: Way
  readonly #down: Way
  /** Only at the beginning, and only for some tunnels. */
  #inspector: Inspector | undefined
  readonly #limits: RelayLimits

  constructor(
    client: PortableConnection,
    upstream: PortableConnection,
    limits: RelayLimits,
    owner: RelayOwner,
    inspector: Inspector | undefined,
  ) {
    const [near, far] = [client.socket, upstream.socket]
    this.#up = { from: near, to: far, bytes: 0, held: NOTHING, ended: false }
    this.#down = { from: far, to: near, bytes: 0, held: NOTHING, ended: false }
    this.#inspector = inspector
    this.#limits = limits
    this.#owner = owner
    this.#timer = setTimeout(this.#onTimer, limits.idleTimeoutMs)
    this.#watch(client, far, 'client_reset')
    this.#watch(upstream, near, 'upstream_reset')
    this.#pump(client, this.#up)
    this.#pump(upstream, this.#down)
  }

  get bytesUp(): number {
    return this.#up.bytes
  }

  get bytesDown(): number {
    return this.#down.bytes
  }

  close(code: CloseCode): void {
    this.#code ??= code
    this.#up.from.destroy()
    this.#up.to.destroy()
  }

  #pump(source: PortableConnection, way: Way): void {
    const { from, to } = way
    const move = (bytes: Buffer): boolean => {
      if (this.#inspector) this.#inspect(way, Buffer.from(bytes))
      else this.#pass(way, bytes)
      // What the system did not take at once is written from where it lies.
      return to.writableLength > 0
    }
    const early = source.release(move)
    to.on('drain', () => {
      this.#lastMoveMs = performance.now()
      from.resume()
    })
    from.on('end', () => this.#finish(way))
    for (const chunk of early) move(chunk)
    if (source.ended) this.#finish(way)
    // Reading was paused while nobody asked; if the early bytes filled the other side, its drain resumes it.
    if (!to.writableNeedDrain) from.resume()
  }

  #pass(way: Way, bytes: Buffer): void {
    if (bytes.length === 0) return
    way.bytes += bytes.length
    this.#lastMoveMs = performance.now()
    if (!way.to.write(bytes)) way.from.pause()
  }

  /** Asks the inspector about bytes that were just read, and about what that decides. */
  #inspect(way: Way, read: Buffer): void {
    const inspector = this.#inspector
    if (!inspector || inspector.refused) return
    const bytes = way.held.length === 0 ? read : Buffer.concat([way.held, read])
    const passing = way === this.#up ? inspector.up(bytes) : inspector.down(bytes)
    way.held = bytes.subarray(passing)
    this.#pass(way, bytes.subarray(0, passing))
    if (inspector.refused) this.#refuse(inspector.refused)
    else if (inspector.done) {
      this.#inspector = undefined
      for (const one of [this.#up, this.#down]) this.#letPass(one)
    } else if (way === this.#down && this.#up.held.length > 0) this.#inspect(this.#up, NOTHING)
  }

  #letPass(way: Way): void {
    const { held } = way
    way.held = NOTHING
    this.#pass(way, held)
    if (way.ended) way.to.end()
  }

  /** The side that sends has finished. */
  #finish(way: Way): void {
    this.#halfClosed = true
    this.#lastMoveMs = performance.now()
    this.#rearm()
    way.ended = true
    // An end waits for bytes that are held back; those of a host that says no more are decided.
    if (way === this.#down || way.held.length === 0) this.#letPass(way)
  }

  /** The host goes; the client gets its last word. */
  #refuse({ code, farewell }: NonNullable<Inspector['refused']>): void {
    const { from: client, to: host } = this.#up
    this.#code ??= code
    this.#halfClosed = true
    this.#rearm()
    host.resetAndDestroy()
    client.end(farewell)
    client.destroySoon()
  }

  /** A break on one side ends the other: after the bytes that are still on their way to it. */
  #watch(from: PortableConnection, to: Socket, code: CloseCode): void {
    const broke = (): void => {
      this.#code ??= code
      from.socket.destroy()
      // A host that is reset may be told so. The client is not: a reset would eat what is still on its way there.
      if (code === 'client_reset' && to.writableLength === 0) to.resetAndDestroy()
      else {
        this.#halfClosed = true
        this.#rearm()
        to.destroySoon()
      }
    }
    if (from.broken !== undefined || from.socket.destroyed) queueMicrotask(broke)
    else from.socket.on('error', broke)
    if (from.socket.closed) queueMicrotask(() => this.#onClose())
    else from.socket.on('close', () => this.#onClose())
  }

  #onClose(): void {
    this.#open -= 1
    if (this.#open > 0) return
    clearTimeout(this.#timer)
    this.#owner.ended(this.#code ?? 'completed')
  }

  #limitMs(): number {
    return this.#halfClosed ? this.#limits.lingerTimeoutMs : this.#limits.idleTimeoutMs
  }

  #rearm(): void {
    clearTimeout(this.#timer)
    const quietMs = performance.now() - this.#lastMoveMs
    // Rounded up: a timer that fires early would find the limit not quite reached and spin.
    this.#timer = setTimeout(this.#onTimer, Math.max(1, Math.ceil(this.#limitMs() - quietMs)))
  }

  /** One timer a tunnel, re-armed when it fires early, so that moving a chunk costs no timer work. */
  #onTimer = (): void => {
    if (performance.now() - this.#lastMoveMs < this.#limitMs()) this.#rearm()
    else this.close(this.#halfClosed ? 'linger_timeout' : 'idle_timeout')
  }
}
