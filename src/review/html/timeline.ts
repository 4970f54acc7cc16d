/** Denials over time by reason: few enough bars to see, few enough reasons to tell their colours apart. */
import { WIDTHS_S } from '../bins.ts'
import type { Review } from '../report.ts'

/** As many as page.css has colours for, one of them for all others. */
const MAX_SERIES = 6
const MAX_BARS = 120
export const OTHER_REASONS = 'other reasons'

export interface Timeline {
  readonly widthMs: number
  /** Start of each bar, none left out. */
  readonly starts: readonly number[]
  /** The most frequent reason first. */
  readonly series: readonly { readonly reason: string; readonly counts: readonly number[] }[]
}

/** Nothing where there is nothing to show. */
export function timelineOf({ groups, from, to, aggregate }: Review): Timeline | undefined {
  if (groups.length === 0 || from === null || to === null) return undefined
  const first = groups.reduce((least, group) => Math.min(least, group.first), from)
  const last = groups.reduce((most, group) => Math.max(most, group.last), to)
  const widthMs = barWidth(last - first, aggregate.scale.widthMs)
  const origin = Math.floor(first / widthMs)
  const bars = Math.floor(last / widthMs) - origin + 1
  const names = reasonNames(groups)
  const counts = new Map(names.map((name) => [name, Array.from({ length: bars }, () => 0)]))
  for (const { fields, bins } of groups) {
    const row = counts.get(String(fields.reason)) ?? counts.get(OTHER_REASONS) ?? []
    for (const [timeMs, count] of bins.entries()) {
      const bar = Math.max(Math.floor(timeMs / widthMs) - origin, 0)
      row[bar] = (row[bar] ?? 0) + count
    }
  }
  return {
    widthMs,
    starts: Array.from({ length: bars }, (_, bar) => (origin + bar) * widthMs),
    series: [...counts].map(([reason, row]) => ({ reason, counts: row })),
  }
}

/** Not finer than what was counted. */
function barWidth(spanMs: number, countedMs: number): number {
  const widths = WIDTHS_S.map((seconds) => seconds * 1000)
  return widths.find((width) => width >= countedMs && spanMs / width < MAX_BARS) ?? widths.at(-1) ?? countedMs
}

function reasonNames(groups: Review['groups']): readonly string[] {
  const totals = new Map<string, number>()
  for (const { fields, count } of groups) {
    const reason = String(fields.reason)
    totals.set(reason, (totals.get(reason) ?? 0) + count)
  }
  const names = [...totals].toSorted((a, b) => b[1] - a[1]).map(([reason]) => reason)
  return names.length <= MAX_SERIES ? names : [...names.slice(0, MAX_SERIES - 1), OTHER_REASONS]
}
