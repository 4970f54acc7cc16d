/** Counts over time as one short word. */
import type { Bins } from './bins.ts'

const BLOCKS = '▁▂▃▄▅▆▇█'

/** Where nothing was counted there is a space. */
export function sparkline(bins: Bins, from: number, to: number, width: number): string {
  const counts = spread(bins, from, to, width)
  const most = Math.max(...counts)
  return counts
    .map((count) => (count === 0 ? ' ' : BLOCKS[Math.min(Math.floor((count / most) * 8), 7)]))
    .join('')
}

/** The counts in `width` equal parts of the time from `from` to `to`. */
export function spread(bins: Bins, from: number, to: number, width: number): number[] {
  const counts = Array.from({ length: width }, () => 0)
  const span = Math.max(to - from, 1)
  for (const [timeMs, count] of bins.entries()) {
    const part = Math.floor(((timeMs - from) / span) * width)
    const index = Math.min(Math.max(part, 0), width - 1)
    counts[index] = (counts[index] ?? 0) + count
  }
  return counts
}
