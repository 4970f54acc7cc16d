/** Counts over time in bounded memory: the bins grow wider as the time they span grows longer. */

/** Widths in seconds; each is a multiple of the one before, so that bins can be joined. */
export const WIDTHS_S = [
  1, 5, 15, 60, 300, 900, 3600, 21_600, 86_400, 604_800, 2_419_200, 31_449_600, 314_496_000, 3_144_960_000,
]
const MAX_BINS = 400
/** Of all groups together, some 40 bytes each. */
const MAX_ALL_BINS = 500_000

/** The scale that all counts of a review share. */
export class TimeScale {
  readonly #max: number
  readonly #all: Bins[] = []
  #used = 0
  #step = 0
  #from = Number.POSITIVE_INFINITY
  #to = Number.NEGATIVE_INFINITY

  /** @param max bins of all counts together */
  constructor(max = MAX_ALL_BINS) {
    this.#max = max
  }

  get widthMs(): number {
    return (WIDTHS_S[this.#step] ?? 0) * 1000
  }

  /** Makes the scale coarse enough to hold this time too. */
  include(timeMs: number): void {
    if (timeMs < this.#from) this.#from = timeMs
    if (timeMs > this.#to) this.#to = timeMs
    while ((this.#to - this.#from) / this.widthMs > MAX_BINS && this.#widen());
  }

  join(bins: Bins): void {
    this.#all.push(bins)
  }

  /** One bin more is in use. */
  use(): void {
    this.#used += 1
    while (this.#used > this.#max && this.#widen());
  }

  /** All at once: counts that nobody adds to any more would keep their many bins. */
  #widen(): boolean {
    if (this.#step === WIDTHS_S.length - 1) return false
    this.#step += 1
    this.#used = this.#all.reduce((sum, bins) => sum + bins.widen(this.widthMs), 0)
    return true
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
    scale.join(this)
  }

  /** Counts at a time that the scale includes. */
  add(timeMs: number, count: number): void {
    const bin = Math.floor(timeMs / this.#widthMs)
    const before = this.#counts.get(bin)
    this.#counts.set(bin, (before ?? 0) + count)
    if (before === undefined) this.#scale.use()
  }

  /** Start of each bin that is not empty, with its count, in order of time. */
  entries(): readonly (readonly [timeMs: number, count: number])[] {
    return [...this.#counts]
      .map(([bin, count]) => [bin * this.#widthMs, count] as const)
      .toSorted((a, b) => a[0] - b[0])
  }

  /** @returns how many bins it has then */
  widen(widthMs: number): number {
    const factor = widthMs / this.#widthMs
    const joined = new Map<number, number>()
    for (const [bin, count] of this.#counts) {
      const wider = Math.floor(bin / factor)
      joined.set(wider, (joined.get(wider) ?? 0) + count)
    }
    this.#counts = joined
    this.#widthMs = widthMs
    return joined.size
  }
}
