/** Numbers, times and findings in words, the same in every format for people. */
import { printableAsIs } from '../doctor/printable.ts'
import { outcome, type OutcomeCode, OUTCOMES } from '../policy/reasons.ts'
import type { GroupField } from './aggregate.ts'
import type { BadLine } from './record-reader.ts'
import type { ReportedGroup, Review } from './report.ts'

export const formatCount = (count: number): string => count.toLocaleString('en-US')

/** `1 denial`, `2,000 denials` */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`
}

/** `2026-11-23 08:51`, UTC */
export function formatMinute(timeMs: number): string {
  return iso(timeMs).slice(0, 16).replace('T', ' ')
}

/** A time of a record; what no date can hold becomes the epoch. */
export function iso(timeMs: number): string {
  const date = new Date(timeMs)
  return Number.isNaN(date.getTime()) ? new Date(0).toISOString() : date.toISOString()
}

/** A field of a group, safe to show, and as `--host` and the like take it; `-` for what the record did not have. */
export function shown(group: ReportedGroup, field: GroupField, max = 80): string {
  const value = group.fields[field]
  return value === null ? '-' : printableAsIs(String(value), max)
}

export function advice(reason: string): string | undefined {
  return isOutcome(reason) ? `${outcome(reason).meaning}; ${outcome(reason).advice}` : undefined
}

function isOutcome(reason: string): reason is OutcomeCode {
  return Object.hasOwn(OUTCOMES, reason)
}

export function statusWord(group: ReportedGroup, review: Review): string {
  if (group.expectation.kind === 'expected') return 'expected'
  if (group.expectation.kind === 'expired') return 'expired'
  // On a first review everything is new, which says nothing.
  return review.lastReview === null || group.news === 'seen' ? '' : group.news
}

export function summaryLine(review: Review): string {
  const { denials, records, groups, from, to, lastReview, unexpected } = review
  const when = from === null || to === null ? '' : `, ${formatMinute(from)} to ${formatMinute(to)} UTC`
  if (denials === 0) return `Nothing denied in ${counted(records, 'record')}${when}.`
  const fresh = groups.filter((group) => group.news === 'new' && group.expectation.kind !== 'expected').length
  const parts = [
    counted(groups.length, 'group'),
    ...(lastReview === null
      ? []
      : [`${formatCount(fresh)} new since the review of ${formatMinute(Date.parse(lastReview))}`]),
    ...(unexpected === denials ? [] : [`${formatCount(denials - unexpected)} of the denials expected`]),
  ]
  return `${counted(denials, 'denial')} in ${counted(records, 'record')}${when}: ${parts.join(', ')}.`
}

const BAD_WORDS: readonly (readonly [BadLine, string])[] = [
  ['cut', 'cut off or no JSON'],
  ['schema', 'of another schema version'],
  ['time', 'without a readable time'],
  ['binary', 'binary'],
  ['long', 'longer than 1 MiB'],
  ['wrapped', 'inside JSON of another program, from which the records are to be taken first (such as by jq)'],
]

/** What the reader should know of the input, a sentence each. */
export function notesOf(review: Review): readonly string[] {
  const { aggregate } = review
  const { bad, others, clockJumps, ungrouped, clientsCut, wouldBeDenied } = aggregate
  const kinds = BAD_WORDS.filter(([kind]) => bad[kind] > 0)
  const broken = kinds.reduce((sum, [kind]) => sum + bad[kind], 0)
  return [
    ...(broken === 0
      ? []
      : [
          `${counted(broken, 'line is', 'lines are')} missing from this review: ${kinds
            .map(([kind, words]) => `${formatCount(bad[kind])} ${words}`)
            .join(', ')}`,
        ]),
    ...(others === 0 ? [] : [`${counted(others, 'line')} of something else passed over`]),
    ...(clockJumps === 0
      ? []
      : [`the clock was set back ${counted(clockJumps, 'time')}; first and last are as recorded`]),
    ...(ungrouped === 0
      ? []
      : [`${counted(ungrouped, 'denial')} of too many different hosts are counted, but in no group`]),
    ...(clientsCut ? ['some groups have more clients than are counted'] : []),
    ...(wouldBeDenied === 0
      ? []
      : [
          `mode report let ${counted(wouldBeDenied, 'tunnel')} through that enforce would have denied; --would-deny reviews them`,
        ]),
  ]
}

/** Whether lines were lost to the review. */
export function isIncomplete({ aggregate: { bad } }: Review): boolean {
  return Object.values(bad).some((count) => count > 0)
}
