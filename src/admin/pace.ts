import { LRUCache } from 'lru-cache'

/** How often something may happen: a burst, and from then on a rate. */
export interface Measure {
  readonly perSecond: number
  readonly burst: number
}

/** A token bucket. */
export class Pace {
  readonly #perSecond: number
  readonly #burst: number
  #left: number
  #lastMs = 0

  constructor({ perSecond, burst }: Measure) {
    this.#perSecond = perSecond
    this.#burst = burst
    this.#left = burst
  }

  /** Whether it may happen now; then it counts. */
  take(nowMs: number): boolean {
    this.#left = Math.min(this.#burst, this.#left + ((nowMs - this.#lastMs) / 1000) * this.#perSecond)
    this.#lastMs = nowMs
    if (this.#left < 1) return false
    this.#left -= 1
    return true
  }
}

/** Addresses beyond are forgotten, the one that has not come for longest first. */
const MAX_ADDRESSES = 1024

/** The same measure for each address by itself. */
export class PaceByAddress {
  readonly #measure: Measure
  readonly #paces = new LRUCache<string, Pace>({ max: MAX_ADDRESSES })

  constructor(measure: Measure) {
    this.#measure = measure
  }

  take(address: string, nowMs: number): boolean {
    const pace = this.#paces.get(address) ?? new Pace(this.#measure)
    this.#paces.set(address, pace)
    return pace.take(nowMs)
  }
}
