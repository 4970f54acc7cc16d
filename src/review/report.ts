/** The outcome of a review, in the order of what needs attention; every output format shows this. */
import type { Aggregate, Group } from './aggregate.ts'
import type { Expectation } from './expected.ts'
import type { Asked } from './expected.ts'
import { newsOf, type Memory, type News } from './memory.ts'

export interface ReportedGroup extends Group {
  readonly expectation: Expectation
  readonly news: News
}

export interface Review {
  /** Milliseconds since the epoch: what was asked for, else the first and last record; null without any. */
  readonly from: number | null
  readonly to: number | null
  readonly records: number
  readonly denials: number
  readonly groups: readonly ReportedGroup[]
  /** Denials in groups that are not expected. */
  readonly unexpected: number
  /** When the last review was, if there was one. */
  readonly lastReview: string | null
  readonly aggregate: Aggregate
}

export interface ReviewContext {
  readonly since?: number
  readonly until?: number
  readonly expected: (asked: Asked) => Expectation
  readonly memory: Memory | undefined
}

export function toReview(aggregate: Aggregate, context: ReviewContext): Review {
  const { memory } = context
  const known = memory && new Map(Object.entries(memory.known))
  const groups = aggregate.groups
    .map((group): ReportedGroup => ({
      fields: group.fields,
      count: group.count,
      clients: group.clients,
      aClient: group.aClient,
      first: group.first,
      last: group.last,
      hint: group.hint,
      bins: group.bins,
      byRule: group.byRule,
      expectation: context.expected(askedOf(group)),
      news: newsOf(group, known),
    }))
    .toSorted(byAttention)
  const seen = aggregate.records > 0
  return {
    from: context.since ?? (seen ? aggregate.from : null),
    to: context.until ?? (seen ? aggregate.to : null),
    records: aggregate.records,
    denials: aggregate.denials,
    groups,
    unexpected:
      groups.reduce((sum, group) => sum + (group.expectation.kind === 'expected' ? 0 : group.count), 0) +
      aggregate.ungrouped,
    lastReview: memory?.reviewedAt ?? null,
    aggregate,
  }
}

const RANK = { new: 0, again: 1, seen: 2 } as const

/** What nobody expects before what is expected, news first, then the most frequent. */
function byAttention(a: ReportedGroup, b: ReportedGroup): number {
  return (
    Number(a.expectation.kind === 'expected') - Number(b.expectation.kind === 'expected') ||
    RANK[a.news] - RANK[b.news] ||
    b.count - a.count ||
    b.last - a.last ||
    String(a.fields.host).localeCompare(String(b.fields.host))
  )
}

function askedOf({ fields: { host, port, reason } }: Group): Asked {
  return {
    host: host === null ? null : String(host),
    port: typeof port === 'number' ? port : null,
    reason: reason === null ? null : String(reason),
  }
}
