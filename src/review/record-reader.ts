/** Tells what each line is: a denial, another record, something else, or something broken. */
import { Cursor } from './cursor.ts'
import { readRecord, type Denial, type Reading } from './denial.ts'
import {
  CHANGED_MARK,
  DENIED_MARK,
  DenialReader,
  FOLDED_MARK,
  hasSchema,
  headAt,
  RECORD_HEAD,
  RECORD_MARK,
  recordTime,
  WOULD_DENY_MARK,
} from './fast-record.ts'
import type { LineVisitor } from './line-splitter.ts'

/** Why a line that should be a record is none. */
export type BadLine = 'cut' | 'schema' | 'time' | 'binary' | 'long' | 'wrapped'

export interface RecordSink {
  /** Any record, denials too; milliseconds since the epoch. */
  record(timeMs: number): void
  denial(denial: Denial, timeMs: number): void
  wouldDeny(denial: Denial, timeMs: number): void
  /** A line of something else, such as the banner of a program in the same log. */
  other(): void
  bad(problem: BadLine): void
}

const CLOSING_BRACE = 0x7d
/** What makes JSON a record of ours. */
const OWN = '"sallyport":'
/** A record as a text or an object inside JSON of somebody else. */
const OWN_INSIDE = /"sallyport\\*": ?\{/
const isBlank = (byte: number | undefined): boolean => byte === 0x20 || byte === 0x0d || byte === 0x09

export class RecordReader implements LineVisitor {
  readonly #sink: RecordSink
  #buffer: Buffer = Buffer.alloc(0)
  readonly #head = new Cursor(RECORD_HEAD)
  readonly #mark = new Cursor(RECORD_MARK)
  readonly #denied = new Cursor(DENIED_MARK)
  readonly #folded = new Cursor(FOLDED_MARK)
  readonly #wouldDeny = new Cursor(WOULD_DENY_MARK)
  readonly #changed = new Cursor(CHANGED_MARK)
  readonly #name = new Cursor('sallyport')
  readonly #denials = new DenialReader()
  readonly #nul = new Cursor('\0')
  readonly #cursors = [
    this.#head,
    this.#mark,
    this.#denied,
    this.#folded,
    this.#wouldDeny,
    this.#changed,
    this.#name,
    this.#nul,
  ]

  constructor(sink: RecordSink) {
    this.#sink = sink
  }

  enter(buffer: Buffer): void {
    this.#buffer = buffer
    for (const cursor of this.#cursors) cursor.enter(buffer)
  }

  longLine(): void {
    this.#sink.bad('long')
  }

  line(start: number, lineEnd: number): void {
    const buffer = this.#buffer
    let end = lineEnd
    while (end > start && isBlank(buffer[end - 1])) end -= 1
    if (buffer[end - 1] !== CLOSING_BRACE || !this.#ownLine(start, end)) this.#anyLine(start, end)
  }

  /** A line as the gate writes it; false where it needs a parser. */
  #ownLine(start: number, end: number): boolean {
    const buffer = this.#buffer
    const head = headAt(buffer, start) === -1 ? this.#head.within(start, end) : start
    const timeMs = head === -1 ? Number.NaN : recordTime(buffer, head)
    if (Number.isNaN(timeMs)) return false
    if (
      this.#folded.within(start, end) !== -1 ||
      this.#wouldDeny.within(start, end) !== -1 ||
      this.#changed.within(start, end) !== -1
    )
      return false
    if (this.#denied.within(start, end) !== -1) {
      const denial = this.#denials.read(buffer.toString('utf8', head, end), timeMs)
      if (!denial) return false
      this.#sink.record(timeMs)
      this.#sink.denial(denial, timeMs)
      return true
    }
    const mark = this.#mark.within(start, end)
    if (mark < head || !hasSchema(buffer, mark)) return false
    this.#sink.record(timeMs)
    return true
  }

  #anyLine(start: number, end: number): void {
    if (start === end) return
    if (this.#nul.within(start, end) !== -1) return this.#sink.bad('binary')
    if (this.#name.within(start, end) === -1) {
      return this.#beginsRecord(start, end) ? this.#sink.bad('cut') : this.#sink.other()
    }
    const line = this.#buffer.toString('utf8', start, end)
    const reading = parseLine(line)
    if (reading) {
      const wrapped = reading.kind === 'other' && OWN_INSIDE.test(line)
      return wrapped ? this.#sink.bad('wrapped') : this.#report(reading)
    }
    // Behind a prefix with a brace of its own, or behind a line that was cut, there may be a whole one.
    const lastHead = line.lastIndexOf(RECORD_HEAD)
    const rest = lastHead > 0 ? parseLine(line.slice(lastHead)) : undefined
    const before = rest ? line.slice(0, lastHead) : line
    if (before.includes(RECORD_HEAD) || before.includes(OWN)) this.#sink.bad('cut')
    else if (!rest) this.#sink.other()
    if (rest) this.#report(rest)
  }

  /** A record that was cut so early that our name is not in it; a brace alone says nothing. */
  #beginsRecord(start: number, end: number): boolean {
    if (this.#head.within(start, end) !== -1) return true
    const length = end - start
    return (
      length > 1 &&
      length < RECORD_HEAD.length &&
      RECORD_HEAD.startsWith(this.#buffer.toString('latin1', start, end))
    )
  }

  #report(reading: Reading): void {
    switch (reading.kind) {
      case 'other':
        return this.#sink.other()
      case 'bad':
        return this.#sink.bad(reading.problem)
      case 'record':
        return this.#sink.record(reading.timeMs)
      case 'denial':
        this.#sink.record(reading.timeMs)
        return this.#sink.denial(reading.denial, reading.timeMs)
      case 'would-deny':
        this.#sink.record(reading.timeMs)
        return this.#sink.wouldDeny(reading.denial, reading.timeMs)
    }
  }
}

/** What stands behind a prefix such as `[pod/gate/sallyport] `; `undefined` where that is no JSON. */
function parseLine(line: string): Reading | undefined {
  const value = parseJson(line.slice(Math.max(line.indexOf('{'), 0)))
  if (value === undefined) return undefined
  const inner = wrapped(value)
  return inner === undefined ? readRecord(value) : parseLine(inner)
}

function parseJson(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? value : undefined
  } catch {
    return undefined
  }
}

/** Docker's json-file driver keeps each line as a text inside its own JSON. */
function wrapped(value: object): string | undefined {
  return 'log' in value && typeof value.log === 'string' && value.log.startsWith('{') ? value.log : undefined
}
