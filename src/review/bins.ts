/** Counts over time in bounded memory: the bins grow wider as the time they span grows longer. */

/** Widths in seconds; each is a multiple of the one before, so that bins can be joined. */
export const WIDTHS_S = [
  1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_419_200, 31_449_600, 314_496_000, 3_144_960_000,
]
const MAX_BINS = 400

/** The scale that all counts of a review share. */
export class TimeScale {
  #step = 0
  #from = Number.POSITIVE_INFINITY
  #to = Number.NEGATIVE_INFINITY

  get widthMs(): number {
    return (WIDTHS_S[this.#step] ?? 0) * 1000
  }

  /** Makes the scale coarse enough to hold this time too. */
  include(timeMs: number): void {
    if (timeMs < this.#from) this.#from = timeMs
    if (timeMs > this.#to) this.#to = timeMs
    while ((this.#to - this.#from) / this.widthMs > MAX_BINS && this.#step < WIDTHS_S.length - 1)
      this.#step += 1
  }
}

export class Bins {
  readonly #scale: TimeScale
  #widthMs: number
  /** By the number of the bin since the epoch. */
  #counts = new Map<number, number>()

  constructor(scale: TimeScale) {
    this.#scale = scale
    this.#widthMs = scale.widthMs
  }

  /** Counts at a time that the scale includes. */
  add(timeMs: number, count: number): void {
    this.#adapt()
    const bin = Math.floor(timeMs / this.#widthMs)
    this.#counts.set(bin, (this.#counts.get(bin) ?? 0) + count)
  }

  /** Start of each bin that is not empty, with its count, in order of time. */
  entries(): readonly (readonly [timeMs: number, count: number])[] {
    this.#adapt()
    return [...this.#counts]
      .map(([bin, count]) => [bin * this.#widthMs, count] as const)
      .toSorted((a, b) => a[0] - b[0])
  }

  #adapt(): void {
    const { widthMs } = this.#scale
    if (widthMs === this.#widthMs) return
    const factor = widthMs / this.#widthMs
    const joined = new Map<number, number>()
    for (const [bin, count] of this.#counts) {
      const wider = Math.floor(bin / factor)
      joined.set(wider, (joined.get(wider) ?? 0) + count)
    }
    this.#counts = joined
    this.#widthMs = widthMs
  }
}
