/**
 * One epoll instance inside Node's own loop. Every descriptor of the wire has a slot here; a slot's generation is part
 * of what epoll gives back, so that an event for a descriptor that was closed meanwhile, and whose number another
 * one may have by now, is recognised and dropped.
 */
import {
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLL_DATA_WORD,
  EPOLL_EVENT_WORDS,
  type Libc,
  type PollHandle,
} from './libc.ts'

export interface Watcher {
  onEvents(slot: number, events: number): void
  /** The slot's deadline has passed; it is cleared. */
  onDeadline(slot: number): void
  /** Something unexpected was thrown for this slot: let go of it. */
  onFault(slot: number): void
  /** The reactor is going: give back what is not a slot, and tell nobody. */
  onDispose?(): void
}

/** One recv(2): a request head, a ClientHello, a small piece. */
export const SCRATCH_BYTES = 16 * 1024
const EVENTS_PER_CALL = 256
/** epoll_wait calls in one turn of Node's loop: timers, DNS and signals must get theirs. */
const ROUNDS_PER_TURN = 8
const FIRST_CAPACITY = 1024

export class Reactor {
  readonly libc: Libc
  /** Read into, then sent or copied out of before anybody else reads: one buffer for every connection. */
  readonly scratch = Buffer.allocUnsafeSlow(SCRATCH_BYTES)
  /** Monotonic milliseconds, read once a turn. */
  nowMs = performance.now()
  readonly #epoll: number
  readonly #events = new Uint32Array(EVENTS_PER_CALL * EPOLL_EVENT_WORDS)
  readonly #control = new Uint32Array(EPOLL_EVENT_WORDS)
  readonly #onBug: (error: unknown) => void
  readonly #poll: PollHandle
  #fds = new Int32Array(FIRST_CAPACITY)
  #generations = new Uint32Array(FIRST_CAPACITY)
  /** When the slot's watcher wants to be called, in monotonic milliseconds; 0 for never. */
  #deadlines = new Float64Array(FIRST_CAPACITY)
  readonly #watchers: (Watcher | undefined)[] = []
  readonly #free: number[] = []
  /** Slots that gave up their turn with work left. */
  #backlog: number[] = []
  #backlogScheduled = false
  #used = 0
  #wakeScheduled = false
  #timer: NodeJS.Timeout | undefined
  #disposed = false
  #timerDueMs = Number.POSITIVE_INFINITY

  constructor(libc: Libc, onBug: (error: unknown) => void) {
    this.libc = libc
    this.#onBug = onBug
    this.#epoll = libc.epollCreate1(EPOLL_CLOEXEC)
    if (this.#epoll < 0) throw new Error(`epoll_create1: ${libc.errnoName(libc.errno())}`)
    this.#poll = libc.watchReadable(this.#epoll, this.#turn)
    this.#poll.unref()
  }

  /** Descriptors in use. */
  get size(): number {
    return this.#used
  }

  /** Takes over a descriptor and watches it. From here on only {@link close} closes it. */
  add(fd: number, events: number, watcher: Watcher): number {
    const slot = this.#free.pop() ?? this.#watchers.length
    if (slot === this.#fds.length) this.#grow()
    this.#fds[slot] = fd
    this.#watchers[slot] = watcher
    this.#deadlines[slot] = 0
    if (this.#used === 0) this.#poll.ref()
    this.#used += 1
    if (this.#epollCtl(EPOLL_CTL_ADD, slot, events) < 0) {
      const code = this.libc.errnoName(this.libc.errno())
      this.close(slot)
      throw Object.assign(new Error(`epoll_ctl: ${code}`), { code })
    }
    return slot
  }

  fd(slot: number): number {
    return this.#fds[slot] ?? -1
  }

  /** Changes what is watched for. */
  modify(slot: number, events: number): void {
    this.#epollCtl(EPOLL_CTL_MOD, slot, events)
  }

  /** Hands the slot's events to another watcher. */
  assign(slot: number, watcher: Watcher): void {
    this.#watchers[slot] = watcher
  }

  /** Who gets the slot's events; nobody when it is closed. */
  watcherOf(slot: number): Watcher | undefined {
    return this.#watchers[slot]
  }

  /** Closes the descriptor; what epoll still says of it is dropped. */
  close(slot: number): void {
    if (!this.#watchers[slot]) return
    this.libc.close(this.fd(slot))
    this.#vacate(slot)
  }

  /** Gives the descriptor away, open: it is no longer watched, and the caller's to close. */
  release(slot: number): number {
    const fd = this.fd(slot)
    this.#epollCtl(EPOLL_CTL_DEL, slot, 0)
    this.#vacate(slot)
    return fd
  }

  #vacate(slot: number): void {
    this.#watchers[slot] = undefined
    this.#fds[slot] = -1
    this.#deadlines[slot] = 0
    this.#generations[slot] = (this.#generations[slot] ?? 0) + 1
    this.#free.push(slot)
    this.#used -= 1
    if (this.#used === 0) this.#poll.unref()
  }

  /** Calls the watcher's `onDeadline` at `dueMs` (as `nowMs` counts), or never when it is 0. */
  setDeadline(slot: number, dueMs: number): void {
    this.#deadlines[slot] = dueMs
    if (dueMs !== 0 && dueMs < this.#timerDueMs) this.#schedule(dueMs)
  }

  /** Calls the watcher again, with no events, after everybody else had a turn. */
  yield(slot: number): void {
    this.#backlog.push(slot, this.#generations[slot] ?? 0)
    if (this.#backlogScheduled) return
    this.#backlogScheduled = true
    setImmediate(this.#runBacklog)
  }

  /**
   * To be called when an event has settled a promise or called back into the pipeline. koffi calls us outside of Node's
   * callback scope, so promise reactions would wait for whatever comes next; an immediate is next.
   */
  wake(): void {
    if (this.#wakeScheduled) return
    this.#wakeScheduled = true
    setImmediate(this.#onWake)
  }

  /** Ends the reactor and closes every descriptor it has. Nobody is told. */
  dispose(): void {
    if (this.#disposed) return
    this.#disposed = true
    for (let slot = 0; slot < this.#watchers.length; slot += 1) {
      this.#watchers[slot]?.onDispose?.()
      this.close(slot)
    }
    clearTimeout(this.#timer)
    this.#poll.close()
    this.libc.close(this.#epoll)
  }

  #epollCtl(operation: number, slot: number, events: number): number {
    this.#control[0] = events
    this.#control[EPOLL_DATA_WORD] = slot
    this.#control[EPOLL_DATA_WORD + 1] = this.#generations[slot] ?? 0
    return this.libc.epollCtl(this.#epoll, operation, this.fd(slot), this.#control)
  }

  #turn = (): void => {
    this.nowMs = performance.now()
    for (let round = 0; round < ROUNDS_PER_TURN; round += 1) {
      const count = this.libc.epollWait(this.#epoll, this.#events, EVENTS_PER_CALL, 0)
      for (let i = 0; i < count; i += 1) {
        const word = i * EPOLL_EVENT_WORDS
        const slot = this.#events[word + EPOLL_DATA_WORD] ?? 0
        const generation = this.#events[word + EPOLL_DATA_WORD + 1]
        if (generation === this.#generations[slot]) this.#dispatch(slot, this.#events[word] ?? 0)
      }
      // A lone event is seldom followed by another within the microsecond that asking would cost.
      if (count < 2) return
    }
  }

  #dispatch(slot: number, events: number): void {
    const watcher = this.#watchers[slot]
    if (!watcher) return
    try {
      watcher.onEvents(slot, events)
    } catch (error) {
      this.#onBug(error)
      watcher.onFault(slot)
    }
  }

  #onWake = (): void => {
    this.#wakeScheduled = false
  }

  #runBacklog = (): void => {
    this.#backlogScheduled = false
    this.nowMs = performance.now()
    const backlog = this.#backlog
    this.#backlog = []
    for (let i = 0; i < backlog.length; i += 2) {
      const slot = backlog[i] ?? 0
      if (backlog[i + 1] === this.#generations[slot]) this.#dispatch(slot, 0)
    }
  }

  #schedule(dueMs: number): void {
    clearTimeout(this.#timer)
    this.#timerDueMs = dueMs
    // Rounded up, and never at once: a timer that fires early would find nothing due.
    this.#timer = setTimeout(this.#onTimer, Math.max(1, Math.ceil(dueMs - performance.now()))).unref()
  }

  /** One timer for all slots. Deadlines are mostly set and cleared, so it is only moved when it fires. */
  #onTimer = (): void => {
    this.nowMs = performance.now()
    this.#timerDueMs = Number.POSITIVE_INFINITY
    let next = Number.POSITIVE_INFINITY
    for (let slot = 0; slot < this.#watchers.length; slot += 1) {
      const due = this.#deadlines[slot] ?? 0
      if (due === 0) continue
      if (due <= this.nowMs) {
        this.#deadlines[slot] = 0
        const watcher = this.#watchers[slot]
        try {
          watcher?.onDeadline(slot)
        } catch (error) {
          this.#onBug(error)
          watcher?.onFault(slot)
        }
      }
      const set = this.#deadlines[slot] ?? 0
      if (set !== 0 && set < next) next = set
    }
    if (next < this.#timerDueMs) this.#schedule(next)
  }

  #grow(): void {
    const capacity = this.#fds.length * 2
    const fds = new Int32Array(capacity)
    fds.set(this.#fds)
    this.#fds = fds
    const generations = new Uint32Array(capacity)
    generations.set(this.#generations)
    this.#generations = generations
    const deadlines = new Float64Array(capacity)
    deadlines.set(this.#deadlines)
    this.#deadlines = deadlines
  }
}
