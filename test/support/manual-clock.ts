import type { Clock } from '../../src/clock.ts'

/** A clock that moves only when told; timers that fall due on the way fire in order. */
export class ManualClock implements Clock {
  #now = 0
  readonly #startMs: number
  #timers: { at: number; callback: () => void }[] = []

  /** @param startMs wall-clock time at the start */
  constructor(startMs = Date.UTC(2026, 10, 23)) {
    this.#startMs = startMs
  }

  wallMs(): number {
    return this.#startMs + this.#now
  }

  monotonicMs(): number {
    return this.#now
  }

  setTimer(callback: () => void, ms: number): () => void {
    const timer = { at: this.#now + ms, callback }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((candidate) => candidate !== timer)
    }
  }

  get timers(): number {
    return this.#timers.length
  }

  /** Moves on by `ms` and lets everything that was woken run. */
  async advance(ms: number): Promise<void> {
    const end = this.#now + ms
    for (;;) {
      const next = this.#timers.filter((timer) => timer.at <= end).toSorted((a, b) => a.at - b.at)[0]
      if (!next) break
      this.#timers = this.#timers.filter((timer) => timer !== next)
      this.#now = next.at
      next.callback()
      await settle()
    }
    this.#now = end
    await settle()
  }
}

/** Lets pending promise callbacks run. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}
