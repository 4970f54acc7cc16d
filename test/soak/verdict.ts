/** From samples to a verdict: does anything grow, is anything left, was anything lost. Pure. */

export interface Sample {
  readonly seconds: number
  readonly rssBytes: number
  /** After a collection, with what lies outside of the heap. */
  readonly heapBytes: number
  readonly descriptors: number
  readonly handles: number
  readonly timers: number
  readonly tunnels: number
}

export type Measure = Exclude<keyof Sample, 'seconds'>

export interface Finding {
  readonly what: string
  readonly well: boolean
  readonly detail: string
}

const MIB = 1024 * 1024
/** What a fitted line may rise by from the end of the warm-up to the end: the larger of a size and a share of the mean. */
const MAY_GROW: Readonly<
  Record<'rssBytes' | 'heapBytes' | 'descriptors' | 'handles' | 'timers', readonly [number, number]>
> = {
  rssBytes: [24 * MIB, 0.2],
  heapBytes: [6 * MIB, 0.15],
  descriptors: [24, 0.2],
  handles: [24, 0.2],
  timers: [24, 0.2],
}
/** This share of the run is warm-up: caches fill, code is compiled. */
export const WARM_UP = 0.25

/** How much the measure grows over the samples behind the warm-up, by a least-squares line. */
export function growth(samples: readonly Sample[], measure: Measure): number {
  const used = samples.slice(Math.floor(samples.length * WARM_UP))
  const [first, last] = [used[0], used.at(-1)]
  if (!first || !last || used.length < 3) return 0
  const mean = (values: readonly number[]): number =>
    values.reduce((sum, value) => sum + value, 0) / values.length
  const x = used.map(({ seconds }) => seconds)
  const y = used.map((sample) => sample[measure])
  const [mx, my] = [mean(x), mean(y)]
  const covariance = x.reduce((sum, at, i) => sum + (at - mx) * ((y[i] ?? 0) - my), 0)
  const variance = x.reduce((sum, at) => sum + (at - mx) ** 2, 0)
  return variance === 0 ? 0 : (covariance / variance) * (last.seconds - first.seconds)
}

/** Under load: nothing grows. */
export function judgeGrowth(samples: readonly Sample[]): readonly Finding[] {
  return (['rssBytes', 'heapBytes', 'descriptors', 'handles', 'timers'] as const).map((measure) => {
    const [least, share] = MAY_GROW[measure]
    const used = samples.slice(Math.floor(samples.length * WARM_UP))
    const mean = used.reduce((sum, sample) => sum + sample[measure], 0) / Math.max(1, used.length)
    const limit = Math.max(least, share * mean)
    const grown = growth(samples, measure)
    return {
      what: `${measure} under load`,
      well: grown <= limit,
      detail: `${format(measure, grown)} over the run, may be ${format(measure, limit)}; mean ${format(measure, mean)}`,
    }
  })
}

/** At rest, afterwards: what is open is what was open before. */
export function judgeRest(before: Sample, after: Sample): readonly Finding[] {
  // The kernel wire keeps up to 64 idle pipes of two descriptors.
  const idlePipes = 2 * 64
  const finding = (measure: Measure, slack: number): Finding => ({
    what: `${measure} at rest`,
    well: after[measure] <= before[measure] + slack,
    detail: `${format(measure, before[measure])} before, ${format(measure, after[measure])} after`,
  })
  return [
    finding('tunnels', 0),
    finding('descriptors', idlePipes),
    finding('handles', 2),
    finding('timers', 2),
  ]
}

export function format(measure: Measure, value: number): string {
  return measure.endsWith('Bytes') ? `${(value / MIB).toFixed(1)} MiB` : String(Math.round(value * 10) / 10)
}
