/** The chart over time, with the same figures as a table for those who do not see it. */
import type { Review } from '../report.ts'
import { counted, formatCount, formatMinute, iso } from '../words.ts'
import { type Markup, markup, scriptJson } from './markup.ts'
import { timelineOf, type Timeline } from './timeline.ts'

export function timelineSection(review: Review): Markup | null {
  const timeline = timelineOf(review)
  if (!timeline) return null
  const { starts, series, widthMs } = timeline
  const chart = {
    width: widthMs / 1000,
    starts: starts.map((start) => start / 1000),
    series,
  }
  return markup`<section aria-labelledby="over-time">
<h2 id="over-time">Over time</h2>
<p>Denials by reason, ${formatWidth(widthMs)} a bar.</p>
<div id="timeline" class="chart" role="img" aria-label="${describe(timeline)}"></div>
<script type="application/json" id="timeline-data">${scriptJson(chart)}</script>
<details>
<summary>The same figures as a table</summary>
<div class="wide" tabindex="0" role="region" aria-label="Denials over time, as a table">
<table>
<thead><tr><th scope="col">From (UTC)</th>${series.map(({ reason }) => markup`<th scope="col" class="number">${reason}</th>`)}</tr></thead>
<tbody>
${starts.flatMap((start, bar) => {
  const counts = series.map((one) => one.counts[bar] ?? 0)
  if (counts.every((count) => count === 0)) return []
  return [
    markup`<tr><th scope="row"><time datetime="${iso(start)}">${formatStart(start, widthMs)}</time></th>${counts.map(
      (count) => markup`<td class="number">${formatCount(count)}</td>`,
    )}</tr>
`,
  ]
})}</tbody>
</table>
</div>
</details>
</section>`
}

function describe({ starts, series, widthMs }: Timeline): string {
  const totals = starts.map((_, bar) => series.reduce((sum, { counts }) => sum + (counts[bar] ?? 0), 0))
  const most = totals.reduce((best, total, bar) => (total > (totals[best] ?? 0) ? bar : best), 0)
  const peak = `${counted(totals[most] ?? 0, 'denial')} in the ${formatWidth(widthMs)} from ${formatStart(starts[most] ?? 0, widthMs)}`
  return `Bar chart of denials over time by reason. The highest bar: ${peak}. The table below has all figures.`
}

function formatStart(timeMs: number, widthMs: number): string {
  return widthMs < 60_000 ? iso(timeMs).slice(0, 19).replace('T', ' ') : formatMinute(timeMs)
}

const UNITS = [
  [86_400_000, 'day'],
  [3_600_000, 'hour'],
  [60_000, 'minute'],
  [1000, 'second'],
] as const

/** `15 minutes`, `hour` */
function formatWidth(ms: number): string {
  const [unit, name] = UNITS.find(([unit]) => ms >= unit) ?? UNITS[3]
  const count = ms / unit
  return count === 1 ? `1 ${name}` : `${formatCount(count)} ${name}s`
}
