/** The review for programs: JSON and CSV. */
import type { GroupField } from './aggregate.ts'
import type { ReportedGroup, Review } from './report.ts'
import { iso } from './words.ts'

/** A stable interface: docs/review.md says what each key holds. */
export function toJson(review: Review, groupBy: readonly GroupField[]): string {
  return JSON.stringify({
    from: review.from === null ? null : iso(review.from),
    to: review.to === null ? null : iso(review.to),
    records: review.records,
    denials: review.denials,
    groups: review.groups.map((group) => rowOf(group, groupBy)),
  })
}

/** RFC 4180, a header first. */
export function toCsv(review: Review, groupBy: readonly GroupField[]): string {
  const header = Object.keys(emptyRow(groupBy))
  const lines = review.groups.map((group) => Object.entries(rowOf(group, groupBy)).map(csvCell).join(','))
  return `${[header.join(','), ...lines].join('\r\n')}\r\n`
}

type Row = Readonly<Record<string, string | number | boolean | null>>

function rowOf(group: ReportedGroup, groupBy: readonly GroupField[]): Row {
  const { fields } = group
  return {
    host: fields.host,
    port: fields.port,
    reason: fields.reason,
    ...Object.fromEntries(extra(groupBy).map((field) => [field, fields[field]])),
    count: group.count,
    clients: group.clients,
    first: iso(group.first),
    last: iso(group.last),
    hint: group.hint,
    expected: group.expectation.kind === 'expected',
  }
}

function emptyRow(groupBy: readonly GroupField[]): Row {
  const names = [
    'host',
    'port',
    'reason',
    ...extra(groupBy),
    'count',
    'clients',
    'first',
    'last',
    'hint',
    'expected',
  ]
  return Object.fromEntries(names.map((name) => [name, null]))
}

/** Fields that the default grouping does not have. */
function extra(groupBy: readonly GroupField[]): readonly GroupField[] {
  return (['client', 'user', 'node'] as const).filter((field) => groupBy.includes(field))
}

/** A spreadsheet takes a text that begins with one of `=+-@` for a formula, also behind spaces and line ends: such a text gets an apostrophe in front. */
function csvCell([name, value]: readonly [string, Row[string]]): string {
  if (value === null) return ''
  if (typeof value !== 'string') return String(value)
  // Times are our own, and begin with a sign beyond the year 9999.
  const formula = name !== 'first' && name !== 'last' && /^(?:\s*[=+\-@]|[\t\r\n])/.test(value)
  const safe = formula ? `'${value}` : value
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
