/** How often something may happen: a burst, and from then on a rate (a token bucket). */
export class Pace {
  readonly #perSecond: number
  readonly #burst: number
  #left: number
  #lastMs = 0

  constructor(perSecond: number, burst: number) {
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
