/** The options of `sallyport review`, checked. */
import { GROUP_FIELDS, DEFAULT_GROUPING, type GroupField } from '../review/aggregate.ts'
import type { Filter } from '../review/filter.ts'
import { parseMoment } from '../review/moment.ts'
import { OUTCOMES } from '../policy/reasons.ts'

export interface ReviewOptions {
  readonly config?: string
  readonly since?: string
  readonly until?: string
  readonly client?: readonly string[]
  readonly host?: readonly string[]
  readonly reason?: readonly string[]
  readonly groupBy?: string
  readonly wouldDeny?: boolean
  readonly expected?: string
  readonly failOn?: string
  readonly json?: boolean
  readonly csv?: boolean
  readonly html?: string
  readonly suggest?: string
  readonly follow?: boolean
  readonly limit?: string
  readonly memory: boolean
}

export interface Wanted {
  readonly filter: Filter
  readonly groupBy: readonly GroupField[]
  readonly limit: number
}

const DEFAULT_LIMIT = 50
const MOMENTS = 'a day such as 2026-11-23, a time such as 2026-11-23T08:00, or how long ago, such as 24h'

/** What the options ask for, or what is wrong with them. */
export function checkOptions(options: ReviewOptions, nowMs: number): Wanted | string {
  const { since, until, reason, groupBy, limit, failOn, json, csv, html, suggest, follow } = options
  const from = since === undefined ? undefined : parseMoment(since, nowMs, 'start')
  const to = until === undefined ? undefined : parseMoment(until, nowMs, 'end')
  if (since !== undefined && from === undefined) return `--since ${since}: expected ${MOMENTS}`
  if (until !== undefined && to === undefined) return `--until ${until}: expected ${MOMENTS}`
  if (from !== undefined && to !== undefined && from > to) return '--since is later than --until'
  const strange = reason?.find((code) => !Object.hasOwn(OUTCOMES, code))
  if (strange !== undefined) return `--reason ${strange}: no such code; the README lists them`
  const fields = groupBy === undefined ? DEFAULT_GROUPING : parseFields(groupBy)
  if (!fields) return `--group-by ${groupBy}: expected some of ${GROUP_FIELDS.join(',')}`
  if (limit !== undefined && !/^[0-9]{1,9}$/.test(limit)) return `--limit ${limit}: expected a number`
  if (failOn !== undefined && failOn !== 'new') return `--fail-on ${failOn}: expected new`
  if (json && csv) return '--json and --csv: choose one'
  if (follow && (csv || html !== undefined || suggest !== undefined))
    return '--follow goes on for ever: leave --csv, --html and --suggest to a review of their own'
  if (
    fields !== DEFAULT_GROUPING &&
    (suggest !== undefined || html !== undefined || options.expected !== undefined)
  )
    return '--group-by: --html, --suggest and --expected need host, port and reason; leave it out'
  return {
    filter: {
      ...(from !== undefined && { since: from }),
      ...(to !== undefined && { until: to }),
      ...(options.client && { clients: options.client }),
      ...(options.host && { hosts: options.host }),
      ...(reason && { reasons: reason }),
    },
    groupBy: fields,
    limit: limit === undefined ? DEFAULT_LIMIT : limit === '0' ? Number.POSITIVE_INFINITY : Number(limit),
  }
}

/** The filters as they were given, for a reader who did not give them. */
export function filterWords(options: ReviewOptions): readonly string[] {
  const { since, until, client, host, reason } = options
  const listed = (name: string, values: readonly string[] | undefined): readonly string[] =>
    values === undefined ? [] : [`${name} ${values.join(' or ')}`]
  return [
    ...(since === undefined ? [] : [`since ${since}`]),
    ...(until === undefined ? [] : [`until ${until}`]),
    ...listed('client', client),
    ...listed('host', host),
    ...listed('reason', reason),
  ]
}

function parseFields(text: string): readonly GroupField[] | undefined {
  const names = new Set(text.split(',').map((name) => name.trim()))
  const fields = GROUP_FIELDS.filter((field) => names.has(field))
  if (fields.length !== names.size) return undefined
  return fields.join() === DEFAULT_GROUPING.join() ? DEFAULT_GROUPING : fields
}
