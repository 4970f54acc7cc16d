import type { Connection, Endpoint, ReadResult } from '../types.ts'
import {
  EAGAIN,
  EINTR,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  MSG_NOSIGNAL,
  SHUT_WR,
} from './libc.ts'
import { SCRATCH_BYTES, type Reactor, type Watcher } from './reactor.ts'

/** What a connection is watched for; EPOLLOUT joins only while bytes wait to be sent. */
export const WATCH_READ = EPOLLIN | EPOLLPRI | EPOLLRDHUP | EPOLLET
export const WATCH_BOTH = WATCH_READ | EPOLLOUT

/** How much a refused client may still send before the politeness ends. */
const MAX_DISCARD_BYTES = 256 * 1024

/** What a relay needs of a connection that it takes over. */
export interface Handover {
  readonly slot: number
  /** Bytes read ahead, and bytes not sent yet. */
  readonly kept: Buffer | undefined
  readonly unsent: Buffer | undefined
  readonly ended: boolean
  /** Something may be there to read. */
  readonly readable: boolean
  readonly finSeen: boolean
  readonly watchesOut: boolean
}

/** A socket before it is relayed: the request head, the ClientHello, a reply. */
export class KernelConnection implements Connection, Watcher {
  readonly remote: Endpoint
  readonly #reactor: Reactor
  readonly #slot: number
  /** Something may be there to read; edge-triggered, so it stays until a read has found nothing. */
  #readable = false
  #finSeen = false
  #spoke = false
  /** The slot is ours: neither closed nor handed over. */
  #owner = true
  #ended = false
  #broken: string | undefined
  #kept: Buffer | undefined
  #unsent: Buffer | undefined
  #watchesOut: boolean
  #reader: ((result: ReadResult) => void) | undefined
  /** A reset was announced. */
  #lost = false
  #gone: Promise<void> | undefined
  #setGone: (() => void) | undefined
  /** Set while finishing: called when the descriptor is closed. */
  #finished: (() => void) | undefined
  #discarded = 0
  #ending = false

  /** @param slot already watched; this object becomes its watcher */
  constructor(reactor: Reactor, slot: number, remote: Endpoint, watchesOut: boolean) {
    this.#reactor = reactor
    this.#slot = slot
    this.remote = remote
    this.#watchesOut = watchesOut
  }

  get spoke(): boolean {
    return this.#spoke
  }

  get gone(): Promise<void> {
    this.#gone ??=
      this.#lost || this.#broken !== undefined
        ? Promise.resolve()
        : new Promise((resolve) => {
            this.#setGone = resolve
          })
    return this.#gone
  }

  read(timeoutMs: number): Promise<ReadResult> {
    const result = this.#take()
    if (result) return Promise.resolve(result)
    this.#reactor.setDeadline(this.#slot, performance.now() + Math.max(0, timeoutMs))
    return new Promise((resolve) => {
      this.#reader = resolve
    })
  }

  unread(bytes: Buffer): void {
    if (bytes.length > 0) this.#kept = this.#kept ? Buffer.concat([bytes, this.#kept]) : bytes
  }

  write(bytes: Buffer): void {
    if (this.#broken !== undefined) return
    if (this.#unsent) this.#unsent = Buffer.concat([this.#unsent, bytes])
    else this.#send(bytes)
  }

  end(): void {
    this.#ending = true
    if (!this.#unsent && this.#broken === undefined) this.#reactor.libc.shutdown(this.#fd, SHUT_WR)
  }

  finish(lingerMs: number): Promise<void> {
    if (this.#broken !== undefined || this.#finished) {
      this.destroy()
      return Promise.resolve()
    }
    this.#reactor.setDeadline(this.#slot, performance.now() + lingerMs)
    const finished = new Promise<void>((resolve) => {
      this.#finished = resolve
    })
    this.end()
    this.#kept = undefined
    this.#discard()
    return finished
  }

  destroy(): void {
    this.#break('ECONNABORTED')
    this.#close()
  }

  /** Gives the descriptor away; this object is done. Nothing where the connection is broken: then it is closed. */
  release(): Handover | undefined {
    if (this.#broken !== undefined) this.#close()
    if (!this.#owner) return undefined
    this.#owner = false
    // The slot may be somebody else's soon: whoever still holds this object finds it broken, and no bytes in it.
    this.#broken = 'ECONNABORTED'
    const [kept, unsent] = [this.#kept, this.#unsent]
    this.#kept = undefined
    this.#unsent = undefined
    return {
      slot: this.#slot,
      kept,
      unsent,
      ended: this.#ended,
      readable: this.#readable,
      finSeen: this.#finSeen,
      watchesOut: this.#watchesOut,
    }
  }

  onEvents(_slot: number, events: number): void {
    if (events & EPOLLOUT && this.#unsent) this.#flush()
    if (!(events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))) return
    this.#readable = true
    // Reads stop short at urgent data, too.
    if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) this.#finSeen = true
    // What arrived before a reset can still be read; the next read finds the reset behind it.
    if (events & EPOLLERR) this.#tellGone()
    if (this.#finished) this.#discard()
    else if (this.#reader) {
      const result = this.#take()
      if (result) this.#answer(result)
    }
  }

  onDeadline(): void {
    if (this.#finished) this.destroy()
    else this.#answer({ kind: 'timeout' })
  }

  onFault(): void {
    this.destroy()
  }

  get #fd(): number {
    return this.#reactor.fd(this.#slot)
  }

  #answer(result: ReadResult): void {
    const reader = this.#reader
    this.#reader = undefined
    this.#reactor.setDeadline(this.#slot, 0)
    this.#reactor.wake()
    reader?.(result)
  }

  /** What a read can have now, without waiting. */
  #take(): ReadResult | undefined {
    if (this.#kept) {
      const bytes = this.#kept
      this.#kept = undefined
      return { kind: 'data', bytes }
    }
    if (this.#broken !== undefined) return { kind: 'broken', code: this.#broken }
    if (this.#ended) return { kind: 'end' }
    if (!this.#readable) return undefined
    const count = this.#receive()
    if (count > 0) return { kind: 'data', bytes: Buffer.from(this.#reactor.scratch.subarray(0, count)) }
    if (count === 0) return { kind: 'end' }
    return this.#broken === undefined ? undefined : { kind: 'broken', code: this.#broken }
  }

  /** recv(2) into the scratch buffer: a count, 0 at the end, -1 with nothing there or broken. */
  #receive(): number {
    const { libc, scratch } = this.#reactor
    for (;;) {
      const count = libc.recv(this.#fd, scratch, SCRATCH_BYTES, 0)
      if (count > 0) {
        this.#spoke = true
        // A short read has emptied the socket (epoll(7)); a FIN that was announced still has to be read.
        if (count < SCRATCH_BYTES && !this.#finSeen) this.#readable = false
        return count
      }
      if (count === 0) {
        this.#ended = true
        return 0
      }
      const errno = libc.errno()
      if (errno === EINTR) continue
      if (errno === EAGAIN) this.#readable = false
      else this.#break(libc.errnoName(errno))
      return -1
    }
  }

  #send(bytes: Buffer): void {
    const { libc } = this.#reactor
    let rest = bytes
    while (rest.length > 0) {
      const sent = libc.send(this.#fd, rest, rest.length, MSG_NOSIGNAL)
      if (sent >= 0) rest = rest.subarray(sent)
      else {
        const errno = libc.errno()
        if (errno === EINTR) continue
        if (errno !== EAGAIN) {
          this.#unsent = undefined
          this.#break(libc.errnoName(errno))
          return
        }
        this.#unsent = Buffer.from(rest)
        if (!this.#watchesOut) {
          this.#watchesOut = true
          this.#reactor.modify(this.#slot, WATCH_BOTH)
        }
        return
      }
    }
    this.#unsent = undefined
  }

  #flush(): void {
    if (this.#unsent) this.#send(this.#unsent)
    if (!this.#unsent && this.#ending) this.end()
  }

  /** Reads and forgets until the peer closes, sends too much, or its time is over. */
  #discard(): void {
    while (this.#readable && !this.#ended && this.#broken === undefined) {
      const count = this.#receive()
      if (count > 0) this.#discarded += count
      if (this.#discarded > MAX_DISCARD_BYTES) break
    }
    const over = this.#ended && !this.#unsent
    if (over || this.#broken !== undefined || this.#discarded > MAX_DISCARD_BYTES) this.destroy()
  }

  /** Once: a slot that was closed may be somebody else's by now. */
  #close(): void {
    if (!this.#owner) return
    this.#owner = false
    this.#reactor.close(this.#slot)
  }

  #tellGone(): void {
    this.#lost = true
    if (!this.#setGone) return
    this.#reactor.wake()
    this.#setGone()
  }

  #break(code: string): void {
    this.#broken ??= code
    this.#tellGone()
    if (this.#reader) this.#answer({ kind: 'broken', code: this.#broken })
    const finished = this.#finished
    this.#finished = undefined
    if (finished) {
      this.#close()
      this.#reactor.wake()
      finished()
    }
  }
}
