/**
 * Reads records as the gate itself writes them, without parsing JSON: most of the time of a review would go there. Each
 * text searched for contains a bare quote, and inside a JSON string every quote has a backslash before it: what clients
 * sent can never be taken for a field. Whatever looks unusual is left to JSON.parse.
 */
import { RECORD_SCHEMA } from '../audit/record.ts'
import type { Denial } from './denial.ts'

/** How each line of the gate begins. */
export const RECORD_HEAD = '{"log":{"level":"'
/**
 * What every record has behind its event. Searching is fastest for a text whose first letter is rare in a record, so this
 * and other marks begin in the middle of a word.
 */
export const RECORD_MARK = 'yport":{"prev":"'
const SCHEMA_TEXT = `","schema":${RECORD_SCHEMA},`
const SCHEMA = Buffer.from(SCHEMA_TEXT)
const HASH_LENGTH = 'sha256:'.length + 64
export const DENIED_MARK = '-denied"'
export const FOLDED_MARK = '-folded"'
export const WOULD_DENY_MARK = '_deny"'
export const CHANGED_MARK = '_changed"'

const HEAD_BYTES = Buffer.from(RECORD_HEAD)
const TIME_FIELD = '"},"@timestamp":"'
/** The first byte of the time, from the start of the record, for levels of four letters. */
const TIME_AT = RECORD_HEAD.length + 4 + TIME_FIELD.length
const AT_SIGN = 0x40
const ZERO = 0x30

/** The time of a record whose head stands at `start`; NaN where it is not written as the gate writes it. */
export function recordTime(line: Buffer, start: number): number {
  // `error` has five letters, `info` and `warn` four.
  const at = line[start + TIME_AT - 13] === AT_SIGN ? start + TIME_AT : start + TIME_AT + 1
  if (line[at - 13] !== AT_SIGN || line[at - 1] !== 0x22) return Number.NaN
  // 2026-11-23T08:51:19.123Z"
  if (
    line[at + 4] !== 0x2d ||
    line[at + 7] !== 0x2d ||
    line[at + 10] !== 0x54 ||
    line[at + 13] !== 0x3a ||
    line[at + 16] !== 0x3a ||
    line[at + 19] !== 0x2e ||
    line[at + 23] !== 0x5a ||
    line[at + 24] !== 0x22
  )
    return Number.NaN
  const year = two(line, at) * 100 + two(line, at + 2)
  const ms = two(line, at + 20) * 10 + digit(line, at + 22)
  const days = daysFromEpoch(year, two(line, at + 5), two(line, at + 8))
  const hour = two(line, at + 11)
  const minute = two(line, at + 14)
  const second = two(line, at + 17)
  if (!(hour <= 23 && minute <= 59 && second <= 59)) return Number.NaN
  return (days * 86_400 + hour * 3600 + minute * 60 + second) * 1000 + ms
}

/** NaN for what is no digit, which then makes the whole time NaN. */
function digit(line: Buffer, at: number): number {
  const value = (line[at] ?? 0) - ZERO
  return value >= 0 && value <= 9 ? value : Number.NaN
}

function two(line: Buffer, at: number): number {
  return digit(line, at) * 10 + digit(line, at + 1)
}

/** Where a record begins that has nothing in front of it; -1 where something has. */
export function headAt(line: Buffer, start: number): number {
  for (let at = 0; at < HEAD_BYTES.length; at += 1) if (line[start + at] !== HEAD_BYTES[at]) return -1
  return start
}

/** Whether the mark that stands at `mark` has the schema that this program knows behind it. */
export function hasSchema(line: Buffer, mark: number): boolean {
  const at = mark + RECORD_MARK.length + HASH_LENGTH
  const end = at + SCHEMA.length
  // A line that was cut may be the last in its buffer.
  return end <= line.length && line.compare(SCHEMA, 0, SCHEMA.length, at, end) === 0
}

function daysIn(year: number, month: number): number {
  if (month === 2) return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28
  return month === 4 || month === 6 || month === 9 || month === 11 ? 30 : 31
}

/** Days since 1970-01-01 in the Gregorian calendar, the year taken to begin in March. */
function daysFromEpoch(year: number, month: number, day: number): number {
  if (!(month >= 1 && month <= 12 && day >= 1 && day <= daysIn(year, month))) return Number.NaN
  const shifted = month > 2 ? year : year - 1
  const era = Math.floor(shifted / 400)
  const yearOfEra = shifted - era * 400
  const dayOfYear = Math.floor((153 * (month + (month > 2 ? -3 : 9)) + 2) / 5) + day - 1
  return (
    era * 146_097 +
    yearOfEra * 365 +
    Math.floor(yearOfEra / 4) -
    Math.floor(yearOfEra / 100) +
    dayOfYear -
    719_468
  )
}

/**
 * Reads the denial of a line that has all marks, in the order in which the gate writes its fields. What stands between
 * the time and the client's address (versions, the node's name) is the same on line after line and is compared at once.
 */
export class DenialReader {
  #common = ''
  #node: string | null = null

  /** @returns `undefined`: have it parsed */
  read(line: string, timeMs: number): Denial | undefined {
    // The level has four or five letters.
    const common = line.charAt(TIME_AT - 1) === '"' ? TIME_AT + 25 : TIME_AT + 26
    // A second time: a line that was cut, with another behind it.
    if (line.includes('@timestamp":', common)) return undefined
    if (this.#common === '' || !line.startsWith(this.#common, common)) {
      if (!this.#learn(line, common)) return undefined
    }
    let at = common + this.#common.length
    const client = plainValue(line, at)
    at = line.indexOf('}', at)
    const event = line.indexOf(DENIED_EVENT, at)
    if (client === undefined || event === -1) return undefined
    let host: string | null | undefined
    let port: number | null = null
    if (line.startsWith(DESTINATION, at)) {
      const inside = at + DESTINATION.length
      host = line.startsWith('"domain":"', inside)
        ? plainValue(line, inside + 10)
        : line.startsWith('"ip":"', inside)
          ? plainValue(line, inside + 6)
          : undefined
      const end = line.indexOf('}', inside)
      const portAt = line.lastIndexOf(':', end) + 1
      port = Number(line.slice(portAt, end))
      if (!line.startsWith('"port":', portAt - 7) || !(port >= 0 && port <= 65_535)) return undefined
    } else host = optionalValue(line, 'target":"', event)
    const reason = plainValue(line, event + DENIED_EVENT.length)
    const own = line.indexOf(RECORD_MARK, event) + RECORD_MARK.length + HASH_LENGTH
    if (!line.startsWith(SCHEMA_TEXT, own)) return undefined
    const hint = optionalValue(line, 'hint":"', own + POLICY_LENGTH)
    const clientRule = optionalValue(line, 'client":"', own + POLICY_LENGTH)
    const user = optionalValue(line, 'user":{"name":"', at)
    if (
      host === undefined ||
      reason === undefined ||
      hint === undefined ||
      clientRule === undefined ||
      user === undefined
    )
      return undefined
    const node = this.#node
    return { count: 1, first: timeMs, last: timeMs, host, port, reason, client, user, clientRule, node, hint }
  }

  #learn(line: string, from: number): boolean {
    const source = line.indexOf(SOURCE, from)
    const node = optionalValue(line, NODE, from)
    if (source === -1 || node === undefined) return false
    this.#common = line.slice(from, source + SOURCE.length)
    this.#node = node
    return true
  }
}

/** The policy's hash follows the schema, and no field that matters is before its end. */
const POLICY_LENGTH = HASH_LENGTH
const NODE = '"node":{"name":"'
const SOURCE = '"source":{"ip":"'
const DESTINATION = '},"destination":{'
const DENIED_EVENT = '-denied","outcome":"success","reason":"'
const MAX_PLAIN = 300

/** The text up to the next quote, where nothing in it is escaped. */
function plainValue(line: string, start: number): string | undefined {
  const end = line.indexOf('"', start)
  if (end <= start || end - start > MAX_PLAIN) return undefined
  const value = line.slice(start, end)
  return value.includes('\\') ? undefined : value
}

/** The same for a field that may be missing: null then. */
function optionalValue(line: string, field: string, from: number): string | null | undefined {
  const at = line.indexOf(field, from)
  return at === -1 ? null : plainValue(line, at + field.length)
}
