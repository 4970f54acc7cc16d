/** What stands above the table: figures, reasons in words, top hosts and clients, near misses. */
import { printable } from '../../doctor/printable.ts'
import { editDistance, MAX_EDITS } from '../../policy/near-miss.ts'
import type { ReportedGroup, Review } from '../report.ts'
import { advice, formatCount, shown } from '../words.ts'
import { type Markup, markup } from './markup.ts'

const TOP = 10
const MAX_NEAR_MISSES = 50

export function figures(review: Review): Markup {
  const { denials, unexpected, groups, lastReview, aggregate } = review
  const fresh = groups.filter(({ news, expectation }) => news === 'new' && expectation.kind !== 'expected')
  const hosts = new Set(groups.map(({ fields }) => fields.host))
  const all: [string, number][] = [
    ['denials', denials],
    ['not expected', unexpected],
    ...(lastReview === null ? [] : [['new groups', fresh.length] satisfies [string, number]]),
    ['hosts', hosts.size],
    ['clients', aggregate.clients.size],
  ]
  return markup`<dl class="figures">
${all.map(
  ([name, count]) => markup`<div><dt>${name}</dt><dd>${formatCount(count)}</dd></div>
`,
)}</dl>`
}

export function reasons({ groups }: Review): Markup | null {
  const totals = sum(groups.map(({ fields, count }) => [String(fields.reason), count]))
  if (totals.length === 0) return null
  return markup`<section aria-labelledby="reasons">
<h2 id="reasons">Reasons</h2>
<div class="wide" tabindex="0" role="region" aria-label="Table of reasons">
<table>
<thead><tr><th scope="col">Reason</th><th scope="col" class="number">Denials</th><th scope="col">Meaning, and what to do</th></tr></thead>
<tbody>
${totals.map(
  ([reason, count]) =>
    markup`<tr><th scope="row"><code>${printable(reason, 40)}</code></th><td class="number">${formatCount(count)}</td><td class="prose">${prose(advice(reason) ?? 'not a reason that this version knows')}</td></tr>
`,
)}</tbody>
</table>
</div>
</section>`
}

/** What stands in backquotes is code. */
function prose(text: string): readonly (Markup | string)[] {
  return text.split('`').map((part, index) => (index % 2 === 1 ? markup`<code>${part}</code>` : part))
}

export function topLists({ groups, aggregate }: Review): Markup | null {
  if (groups.length === 0) return null
  const hosts = sum(groups.map((group) => [shown(group, 'host'), group.count]))
  const clients = sum([...aggregate.clients])
  const nodes = sum([...aggregate.nodes])
  return markup`<div class="columns">
${topList('hosts', 'Host', hosts)}
${topList('clients', 'Client', clients)}
${nodes.length > 1 ? topList('gates', 'Gate', nodes) : null}
</div>`
}

function topList(name: string, title: string, totals: readonly (readonly [string, number])[]): Markup | null {
  const most = totals[0]?.[1]
  if (most === undefined) return null
  const more = totals.length - TOP
  return markup`<section aria-labelledby="top-${name}">
<h2 id="top-${name}">Top ${name}</h2>
<table class="top">
<thead><tr><th scope="col">${title}</th><th scope="col" class="number">Denials</th></tr></thead>
<tbody>
${totals.slice(0, TOP).map(
  ([label, count]) =>
    markup`<tr><th scope="row">${printable(label, 80)}${bar(count / most)}</th><td class="number">${formatCount(count)}</td></tr>
`,
)}</tbody>
</table>
${more > 0 ? markup`<p class="more">and ${formatCount(more)} more</p>` : null}
</section>`
}

/** Drawn for the eye alone: the figure stands beside it. */
function bar(part: number): Markup {
  return markup`<svg class="bar" viewBox="0 0 100 4" preserveAspectRatio="none" aria-hidden="true"><rect width="${Math.max(part * 100, 0.5).toFixed(1)}" height="4"/></svg>`
}

/** Whether the hint is a slip of the keyboard or the port away: a preset or advice is nothing that the client meant. */
function isSlip({ fields: { host }, hint }: ReportedGroup): boolean {
  if (hint === null || host === null) return false
  return editDistance(String(host), hint.replace(/:[0-9]+$/, ''), MAX_EDITS) !== undefined
}

export function nearMisses({ groups }: Review): Markup | null {
  const all = groups.filter(isSlip)
  if (all.length === 0) return null
  const more = all.length - MAX_NEAR_MISSES
  return markup`<section aria-labelledby="near-misses">
<h2 id="near-misses">Near misses</h2>
<p>Clients that may have meant something that is allowed. Most often the client is to be corrected, not the policy.</p>
<div class="wide" tabindex="0" role="region" aria-label="Table of near misses">
<table>
<thead><tr><th scope="col">Asked for</th><th scope="col">Hint</th><th scope="col" class="number">Denials</th><th scope="col" class="number">Clients</th></tr></thead>
<tbody>
${all.slice(0, MAX_NEAR_MISSES).map(
  (group) =>
    markup`<tr><th scope="row">${shown(group, 'host')}:${shown(group, 'port')}</th><td>${printable(group.hint ?? '', 80)}</td><td class="number">${formatCount(group.count)}</td><td class="number">${formatCount(group.clients)}</td></tr>
`,
)}</tbody>
</table>
</div>
${more > 0 ? markup`<p class="more">and ${formatCount(more)} more, in the table below</p>` : null}
</section>`
}

/** Sums by name, the highest first. */
function sum(counts: readonly (readonly [string, number])[]): readonly (readonly [string, number])[] {
  const totals = new Map<string, number>()
  for (const [name, count] of counts) totals.set(name, (totals.get(name) ?? 0) + count)
  return [...totals].toSorted((a, b) => b[1] - a[1])
}
