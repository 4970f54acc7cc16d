/** All hosts, some at a time, within one time limit; what is known when it ends early is reported as it is. */
import type { Via } from './via.ts'
import { examine } from './examine.ts'
import type { HostReport } from './report.ts'
import type { Course, Kit } from './walk.ts'

/** Hosts under way at once: all of a preset in two rounds, without a burst that a firewall would take for a scan. */
export const CONCURRENCY = 10

/** What ended a run before all was done. */
export type Ended = 'interrupted' | 'time'

export interface RoundsOptions {
  readonly via?: Via
  /** For all hosts together, milliseconds. */
  readonly timeoutMs: number
  /** Aborted by whoever does not want to wait. */
  readonly interrupt: AbortSignal
}

/** Fills every course that is not finished. Rejects only with a bug. */
export async function examineAll(
  courses: readonly Course[],
  kit: Kit,
  options: RoundsOptions,
): Promise<Ended | undefined> {
  const time = new AbortController()
  const timer = setTimeout(() => time.abort(), options.timeoutMs)
  const signal = AbortSignal.any([time.signal, options.interrupt])
  const ended = new Promise<void>((resolve) => {
    if (signal.aborted) resolve()
    signal.addEventListener('abort', () => resolve())
  })
  const queue = courses.filter((course) => !course.finished)
  const work = async (): Promise<void> => {
    for (let course = queue.shift(); course && !signal.aborted; course = queue.shift()) {
      await examine(course, options.via, kit, signal)
    }
  }
  try {
    // Not every wait can be broken off (DNS cannot): at the end of time nobody waits for it.
    await Promise.race([Promise.all(Array.from({ length: CONCURRENCY }, work)), ended])
  } finally {
    clearTimeout(timer)
  }
  if (courses.every((course) => course.finished)) return undefined
  return options.interrupt.aborted ? 'interrupted' : 'time'
}

export function reportOn({ target, steps, finding, finished }: Course): HostReport {
  const status = finding ? 'finding' : finished ? 'well' : 'unfinished'
  return { host: target.host, port: target.port, status, steps: [...steps], finding: finding ?? null }
}
