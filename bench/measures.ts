/** The list of what is measured: keys of the results, and how a table shows them. */

export interface Measure {
  readonly key: string
  readonly title: string
  readonly digits: number
  /** Ratios of this measure to other proxies' say something. */
  readonly comparable: boolean
}

const measure = (key: string, title: string, digits: number, comparable = true): Measure => ({
  key,
  title,
  digits,
  comparable,
})

export function measuresFor(idle: readonly number[]): readonly Measure[] {
  const ends = idle.length > 1 ? [idle[0] ?? 0, idle.at(-1) ?? 0] : idle
  return [
    measure('setupCpuUs', 'CPU per tunnel set up, µs', 1),
    ...ends.map((count) =>
      measure(setupWithIdle(count), `… with ${grouped(count)} idle tunnels open, µs`, 1),
    ),
    measure('setupP50Us', 'tunnel set-up, 32 at a time, p50 µs', 0, false),
    measure('relayCpuPerGB', 'CPU per GB relayed, s', 3),
    measure('relayMBps', 'relayed, MB/s', 0, false),
    measure('roundTripCpuUs', 'CPU per round trip, µs', 1),
    measure('roundTripP50Us', 'round trip, p50 µs', 1),
    ...idle.flatMap((count) => [
      measure(idleRss(count), `RSS per idle tunnel, ${grouped(count)} open, KiB`, 2),
      measure(idlePss(count), `PSS per idle tunnel, ${grouped(count)} open, KiB`, 2, false),
    ]),
    measure('rssMiB', 'RSS after the run, MiB', 1),
    measure('readyMs', 'time to ready, ms', 0),
    measure('readyCpuMs', 'CPU until ready, ms', 0),
    measure('failed', 'failed or lost tunnels', 0, false),
  ]
}

export const setupWithIdle = (count: number): string => `setupCpuUs.idle${count}`
export const idleRss = (count: number): string => `rssPerIdleKiB.${count}`
export const idlePss = (count: number): string => `pssPerIdleKiB.${count}`

/** Values of one proxy, each measured some times. */
export type Values = Map<string, number[]>

export function note(values: Values, key: string, value: number): void {
  values.set(key, [...(values.get(key) ?? []), value])
}

/** The median; `failed` is a sum. */
export function summary(values: Values, key: string): number | undefined {
  const all = values.get(key)
  if (!all || all.length === 0) return undefined
  if (key === 'failed') return all.reduce((sum, value) => sum + value, 0)
  const sorted = all.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[middle - 1] ?? 0)) / 2
}

function grouped(count: number): string {
  return count.toLocaleString('en-US')
}
