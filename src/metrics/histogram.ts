/** Durations in buckets, as plain numbers: an observation costs two additions. */

export interface HistogramFigures {
  /** How many fell into each bucket (not cumulated), the last one being everything above the last bound. */
  readonly counts: readonly number[]
  readonly sum: number
}

export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: number[]
  #sum = 0

  /** @param bounds upper bounds of the buckets, ascending, in seconds */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds
    this.#counts = Array.from({ length: bounds.length + 1 }, () => 0)
  }

  observe(seconds: number): void {
    let bucket = 0
    while (bucket < this.#bounds.length && seconds > (this.#bounds[bucket] ?? 0)) bucket += 1
    this.#counts[bucket] = (this.#counts[bucket] ?? 0) + 1
    this.#sum += seconds
  }

  get figures(): HistogramFigures {
    return { counts: [...this.#counts], sum: this.#sum }
  }
}

export const QUERY_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5]
export const DIAL_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10]
export const TUNNEL_BOUNDS = [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14_400]
