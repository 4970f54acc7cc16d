import type { Socket } from 'node:net'
import type { CloseCode } from '../../policy/reasons.ts'
import type { Carried, Relay, RelayLimits } from '../types.ts'
import type { PortableConnection } from './connection.ts'

/**
 * Copies bytes both ways with backpressure and half-close: a FIN from one side is passed on after the bytes before
 * it, and the other direction goes on.
 */
export class PortableRelay implements Relay {
  bytesUp: number
  bytesDown: number
  readonly #onEnd: (code: CloseCode) => void
  #code: CloseCode | undefined
  #open = 2
  #halfClosed = false
  #lastMoveMs = performance.now()
  #timer: NodeJS.Timeout
  readonly #client: Socket
  readonly #upstream: Socket
  readonly #limits: RelayLimits

  constructor(
    client: PortableConnection,
    upstream: PortableConnection,
    limits: RelayLimits,
    onEnd: (code: CloseCode) => void,
    carried: Carried | undefined,
  ) {
    this.bytesUp = carried?.bytesUp ?? 0
    this.bytesDown = carried?.bytesDown ?? 0
    this.#client = client.socket
    this.#upstream = upstream.socket
    this.#limits = limits
    this.#onEnd = onEnd
    this.#timer = setTimeout(this.#onTimer, limits.idleTimeoutMs)
    this.#watch(client, this.#upstream, 'client_reset')
    this.#watch(upstream, this.#client, 'upstream_reset')
    this.#pump(client, this.#upstream, (length) => {
      this.bytesUp += length
    })
    this.#pump(upstream, this.#client, (length) => {
      this.bytesDown += length
    })
  }

  close(code: CloseCode): void {
    this.#code ??= code
    this.#client.destroy()
    this.#upstream.destroy()
  }

  #pump(from: PortableConnection, to: Socket, count: (length: number) => void): void {
    const { socket } = from
    const early = from.release()
    const move = (chunk: Buffer): void => {
      count(chunk.length)
      this.#lastMoveMs = performance.now()
      if (!to.write(chunk)) socket.pause()
    }
    const end = (): void => {
      this.#halfClosed = true
      this.#lastMoveMs = performance.now()
      this.#rearm()
      to.end()
    }
    to.on('drain', () => {
      this.#lastMoveMs = performance.now()
      socket.resume()
    })
    socket.on('data', move)
    socket.on('end', end)
    for (const chunk of early) move(chunk)
    if (from.finished) end()
    // Reading was paused while nobody asked; if the early bytes filled the other side, its drain resumes it.
    if (!to.writableNeedDrain) socket.resume()
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
    this.#onEnd(this.#code ?? 'completed')
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
