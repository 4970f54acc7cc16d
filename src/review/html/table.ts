/** Every group as a row. It is complete without the script, which adds search and sorting. */
import { printable } from '../../doctor/printable.ts'
import type { Expectation } from '../expected.ts'
import type { ReportedGroup, Review } from '../report.ts'
import { spread } from '../sparkline.ts'
import { formatCount, formatMinute, iso, shown, statusWord } from '../words.ts'
import { type Markup, markup } from './markup.ts'

/** More make a browser slow; nobody reads them. */
const MAX_ROWS = 5000
const SPARK_BARS = 24

export function denialTable(review: Review): Markup {
  const listed = review.groups.slice(0, MAX_ROWS)
  const more = review.groups.length - listed.length
  const withStatus = listed.some((group) => statusWord(group, review) !== '')
  return markup`<section aria-labelledby="denials">
<h2 id="denials" tabindex="-1">All denials</h2>
<p>By host, port and reason; what needs attention first.${
    more > 0
      ? ` The first ${formatCount(listed.length)} of ${formatCount(review.groups.length)} groups; --csv lists them all.`
      : ''
  }</p>
<form class="search" id="search" role="search" hidden>
<label for="query">Search</label>
<input id="query" type="search" autocomplete="off" spellcheck="false" placeholder="host, reason, status, hint …">
<span id="found" role="status"></span>
</form>
<div class="wide" tabindex="0" role="region" aria-label="Table of denials">
<table id="groups">
<thead><tr>
<th scope="col">Host</th><th scope="col" class="number">Port</th><th scope="col">Reason</th>${
    withStatus ? markup`<th scope="col">Status</th>` : null
  }<th scope="col">Hint</th><th scope="col" class="number" data-first="descending">Denials</th><th scope="col" class="number" data-first="descending">Clients</th><th scope="col" data-first="descending">First</th><th scope="col" data-first="descending">Last</th><th scope="col" class="over-time" data-plain>Over time</th>
</tr></thead>
<tbody>
${listed.map((group) => row(group, review, withStatus))}</tbody>
</table>
</div>
</section>`
}

function row(group: ReportedGroup, review: Review, withStatus: boolean): Markup {
  const { count, clients, first, last, hint } = group
  return markup`<tr><th scope="row">${shown(group, 'host')}</th><td class="number">${shown(group, 'port')}</td><td><code>${shown(group, 'reason', 40)}</code></td>${
    withStatus ? markup`<td>${status(group, review)}</td>` : null
  }<td class="hint">${hint === null ? null : printable(hint, 80)}</td><td class="number" data-v="${count}">${formatCount(count)}</td><td class="number" data-v="${clients}">${formatCount(clients)}</td>${moment(first)}${moment(last)}<td class="over-time">${spark(group, review)}</td></tr>
`
}

function status(group: ReportedGroup, review: Review): Markup | null {
  const word = statusWord(group, review)
  if (word === '') return null
  return markup`<span class="status ${word}">${word}</span>${about(group.expectation)}`
}

function moment(timeMs: number): Markup {
  return markup`<td data-v="${timeMs}"><time datetime="${iso(timeMs)}">${formatMinute(timeMs)}</time></td>`
}

/** Whose it is and until when. */
function about(expectation: Expectation): Markup | null {
  if (expectation.kind === 'unexpected') return null
  const { owner, ticket, expires, note } = expectation.entry
  const facts = [owner, ticket, ...(expires === undefined ? [] : [`until ${expires}`]), note]
  const known = facts.filter((fact) => fact !== undefined).map((fact) => printable(fact, 120))
  return markup`<span class="about">${known.join(', ')}</span>`
}

/** One path: a table of thousands must stay small. Its figures are those of the row and of the chart above. */
function spark({ bins }: ReportedGroup, { from, to }: Review): Markup | null {
  if (from === null || to === null) return null
  const counts = spread(bins, from, to, SPARK_BARS)
  const most = Math.max(...counts)
  const bars = counts.map((count, bar) => {
    const height = count === 0 ? 0 : Math.max(Math.round((count / most) * 16), 2)
    return height === 0 ? '' : `M${bar * 4} 16h3v-${height}h-3z`
  })
  return markup`<svg class="spark" viewBox="0 0 ${SPARK_BARS * 4} 16" aria-hidden="true"><path d="${bars.join('')}"/></svg>`
}
