/**
 * Keeps a flood of denials from being a flood of records: what the same client asks for the same host with the same
 * result, more often than a number of times in a while, is counted instead, and the count is recorded when that while is
 * over. A client that asks for ever new hosts, or clients without number, are counted more coarsely. Every denial is in
 * exactly one record or one count, and what is remembered is bounded.
 */
import type { Clock } from '../clock.ts'
import { authorityOf, type Refusal } from '../policy/refusal.ts'
import type { Attempt } from './attempt.ts'

export interface FoldLimits {
  /** Denials of one kind within {@link withinMs} that have a record of their own. */
  readonly above: number
  readonly withinMs: number
}

/** What the counted denials have in common: client, host and reason; client and reason; or the reason alone. */
export type FoldScope = 'host' | 'client' | 'reason'

export interface Fold {
  readonly scope: FoldScope
  /** The first that was counted, for what all have in common. */
  readonly attempt: Attempt
  readonly refusal: Refusal
  count: number
  /** Those of them where `policy.candidate` says otherwise. */
  differing: number
  /** Wall clock, milliseconds. */
  readonly firstMs: number
  lastMs: number
}

/** A while: from the first denial of its kind on. */
interface Window {
  /** Monotonic milliseconds. */
  readonly endMs: number
  /** Denials that were recorded on their own. */
  recorded: number
  fold?: Fold
}

/** Several hosts of one client: so many times {@link FoldLimits.above} may be recorded on their own. */
const HOSTS_PER_CLIENT = 10
const MAX_KINDS = 4096
const MAX_CLIENTS = 1024

export class Folding {
  readonly #limits: FoldLimits
  readonly #clock: Clock
  readonly #emit: (fold: Fold) => void
  /** Each in the order in which they end, since all are equally long. */
  readonly #kinds = new Map<string, Window>()
  readonly #clients = new Map<string, Window>()
  readonly #coarse = new Map<string, Window>()
  #cancelTimer: (() => void) | undefined
  #wakeMs = Number.POSITIVE_INFINITY

  /** @param emit takes a finished count */
  constructor(limits: FoldLimits, clock: Clock, emit: (fold: Fold) => void) {
    this.#limits = limits
    this.#clock = clock
    this.#emit = emit
  }

  /** Whether this denial gets a record of its own; if not, it is counted. */
  take(attempt: Attempt, refusal: Refusal): boolean {
    this.#sweep()
    const { address } = attempt.client
    const result = `${refusal.code} ${attempt.policyHash} ${attempt.mode}`
    const kind = `${address} ${attempt.target ? authorityOf(attempt.target) : ''} ${result}`
    const known = this.#kinds.get(kind)
    if (known && known.recorded >= this.#limits.above) {
      // What could not be read has no host to name.
      this.#count(known, attempt.target ? 'host' : 'client', attempt, refusal)
      return false
    }
    const client = this.#clients.get(address) ?? this.#open(this.#clients, address, MAX_CLIENTS)
    if (!client) return this.#countCoarsely(result, 'reason', attempt, refusal)
    const full = client.recorded >= this.#limits.above * HOSTS_PER_CLIENT
    const window = full ? undefined : (known ?? this.#open(this.#kinds, kind, MAX_KINDS))
    if (!window) return this.#countCoarsely(`${address} ${result}`, 'client', attempt, refusal)
    window.recorded += 1
    client.recorded += 1
    return true
  }

  /** How many kinds, clients and reasons are remembered now. */
  get remembered(): number {
    return this.#kinds.size + this.#clients.size + this.#coarse.size
  }

  /** Records every count now, finished or not. */
  flush(): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#sweep(Number.POSITIVE_INFINITY)
  }

  #open(windows: Map<string, Window>, key: string, max: number): Window | undefined {
    if (windows.size >= max) return undefined
    const window = { endMs: this.#clock.monotonicMs() + this.#limits.withinMs, recorded: 0 }
    windows.set(key, window)
    return window
  }

  /** There are as many coarse ones as clients and reasons, and those are bounded. */
  #countCoarsely(key: string, scope: FoldScope, attempt: Attempt, refusal: Refusal): false {
    const window = this.#coarse.get(key) ?? this.#open(this.#coarse, key, Number.POSITIVE_INFINITY)
    if (window) this.#count(window, scope, attempt, refusal)
    return false
  }

  #count(window: Window, scope: FoldScope, attempt: Attempt, refusal: Refusal): void {
    const nowMs = this.#clock.wallMs()
    const differing = attempt.candidate ? 1 : 0
    if (window.fold) {
      window.fold.count += 1
      window.fold.differing += differing
      window.fold.lastMs = nowMs
      return
    }
    window.fold = { scope, attempt, refusal, count: 1, differing, firstMs: nowMs, lastMs: nowMs }
    this.#wakeAt(window.endMs)
  }

  /** What is over is forgotten, and its count recorded. */
  #sweep(nowMs = this.#clock.monotonicMs()): void {
    for (const windows of [this.#kinds, this.#coarse, this.#clients]) {
      for (const [key, { endMs, fold }] of windows) {
        if (endMs > nowMs) break
        windows.delete(key)
        if (fold) this.#emit(fold)
      }
    }
  }

  #wakeAt(endMs: number): void {
    // An older window may come to count later than a younger one.
    if (this.#cancelTimer && this.#wakeMs <= endMs) return
    this.#cancelTimer?.()
    this.#wakeMs = endMs
    this.#cancelTimer = this.#clock.setTimer(
      () => {
        this.#cancelTimer = undefined
        this.#sweep()
        const nextMs = this.#nextEndMs()
        if (nextMs !== undefined) this.#wakeAt(nextMs)
      },
      Math.max(0, endMs - this.#clock.monotonicMs()),
    )
  }

  /** When the next count is finished. */
  #nextEndMs(): number | undefined {
    const ends: number[] = []
    for (const windows of [this.#kinds, this.#coarse]) {
      for (const { endMs, fold } of windows.values()) {
        if (!fold) continue
        ends.push(endMs)
        break
      }
    }
    return ends.length === 0 ? undefined : Math.min(...ends)
  }
}
