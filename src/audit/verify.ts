/**
 * Follows the chain through lines and says where it breaks, and how: a record was changed, put in, moved, or records are
 * missing. Pure, and of constant size. A chain shows what was done to it as long as the one who did it has not made the
 * rest anew; only a head that was noted elsewhere shows that.
 */
import { printable } from '../doctor/printable.ts'
import { hashLine } from './hash-line.ts'
import { readRecord, type ChainRecord } from './chain-record.ts'
import { GENESIS } from './ledger.ts'
import { RecentLines } from './recent-lines.ts'

export interface Place {
  readonly file: string
  readonly line: number
  readonly sequence?: number
}

export type FindingKind =
  'changed' | 'missing' | 'moved' | 'inserted' | 'no-record' | 'cut-off' | 'begins-later' | 'head-not-found'

/** The first bad record, or the place where one is missing. */
export interface Finding extends Place {
  readonly kind: FindingKind
  readonly message: string
}

export interface Verdict {
  readonly records: number
  readonly first: Finding | undefined
  /** How many places there are where the chain breaks. */
  readonly findings: number
  /** Records that are missing, and of which the trail itself says so. */
  readonly lost: number
  readonly begin: (Place & { readonly prev: string }) | undefined
  /** Hash of the last line. */
  readonly head: string | undefined
  /** Where the wanted head is. */
  readonly anchor: Place | undefined
  /** Worth knowing, and nothing wrong. */
  readonly notes: readonly string[]
}

interface Link {
  readonly ordinal: number
  readonly place: Place
  readonly hash: string
  readonly sequence: number
  readonly action: string
  /** Hash of the line before it, as that is. */
  readonly before: string | undefined
}

/** Records are missing here, unless the trail says later how many were lost, or they turn up. */
interface Gap {
  readonly ordinal: number
  readonly place: Place
  /** Hash of the last record before it. */
  readonly after: string
  readonly missing: number
  /** Another sink that lost these very records, which says nothing about this trail. */
  lostBy?: string
}

export interface VerifyOptions {
  /** A hash that has to be in the chain. */
  readonly head?: string | undefined
  /** The hash behind which the chain has to begin; {@link GENESIS}: with the first record ever. Default: any. */
  readonly from?: string | undefined
  /** `sallyport.sink` of the way out that wrote this trail. Default: the audit file, whatever its name. */
  readonly sink?: string | undefined
}

/** Gaps that may still be explained; more than that are findings. */
const MAX_GAPS = 64
const MAX_NOTES = 20

export class ChainVerifier {
  readonly #wanted: string | undefined
  readonly #from: string | undefined
  readonly #sink: string | undefined
  readonly #recent = new RecentLines()
  #lines = 0
  #records = 0
  #last: Link | undefined
  /** The last link did not fit the one before: which of the two was changed shows with the next. */
  #doubt: { readonly earlier: Link; readonly later: Link } | undefined
  #gaps: Gap[] = []
  #first: (Finding & { readonly ordinal: number }) | undefined
  #findings = 0
  #lost = 0
  #begin: Verdict['begin']
  #anchor: Place | undefined
  #tail: Place | undefined
  #repeated = 0
  readonly #notes: string[] = []

  constructor({ head, from, sink }: VerifyOptions = {}) {
    this.#wanted = head
    this.#from = from
    this.#sink = sink
  }

  /** @param bytes the line without its newline; `undefined` when it is too long for a record */
  line(bytes: Buffer | undefined, file: string, line: number, ended: boolean): void {
    this.#lines += 1
    const record = bytes && readRecord(bytes)
    if (!bytes || !record) {
      const what = ended ? 'is no audit record' : 'is cut off: the rest of the file is missing'
      this.#find(ended ? 'no-record' : 'cut-off', this.#lines, { file, line }, what)
      return
    }
    const hash = hashLine(bytes)
    if (this.#recent.has(hash)) {
      this.#repeated += 1
      return
    }
    this.#recent.add(hash, bytes.length)
    this.#records += 1
    const { sequence, action } = record.event
    const place = { file, line, sequence }
    if (hash === this.#wanted) this.#anchor = place
    const link = { ordinal: this.#lines, place, hash, sequence, action, before: this.#last?.hash }
    if (this.#last) this.#compare(this.#last, link, record)
    else this.#begins({ ...place, prev: record.sallyport.prev })
    this.#explain(record)
    this.#last = link
    this.#tail = place
  }

  /** A file that ends in the middle of what it was compressed to. */
  damaged(file: string, line: number, why: string): void {
    this.#find('cut-off', this.#lines + 1, { file, line }, `cannot be read any further: ${why}`)
  }

  end(): Verdict {
    if (this.#doubt) this.#settleDoubt(true)
    for (const gap of this.#gaps) this.#missing(gap)
    this.#gaps = []
    const { file, line } = this.#tail ?? { file: '', line: 0 }
    if (this.#repeated > 0)
      this.#note(
        `${this.#repeated} lines are there twice, as a syslog server gets them after a broken connection`,
      )
    if (this.#wanted !== undefined && !this.#anchor) {
      const what = `${this.#wanted} is in none of the records: the end was cut off, or the trail written anew`
      this.#find('head-not-found', this.#lines + 1, { file, line }, what)
    } else if (this.#last && this.#last.action !== 'gate-stopped' && this.#wanted === undefined) {
      this.#note(
        'the trail does not end with gate-stopped: it goes on, or its end is missing; --head HASH would tell',
      )
    }
    return {
      records: this.#records,
      first: this.#first,
      findings: this.#findings,
      lost: this.#lost,
      begin: this.#begin,
      head: this.#last?.hash,
      anchor: this.#anchor,
      notes: this.#notes,
    }
  }

  #begins(begin: NonNullable<Verdict['begin']>): void {
    this.#begin = begin
    if (this.#from === undefined || this.#from === begin.prev) return
    const wanted = this.#from === GENESIS ? 'the start of a chain' : this.#from
    const what = `is the first record, and continues from ${begin.prev}: what should stand between ${wanted} and it is missing`
    this.#find('begins-later', this.#lines, begin, what)
  }

  #compare(last: Link, link: Link, { sallyport: { prev } }: ChainRecord): void {
    const fits = prev === last.hash
    if (this.#doubt) this.#settleDoubt(fits)
    const { sequence } = link
    if (fits) {
      if (sequence === 1) this.#restarted(last)
      else if (sequence !== last.sequence + 1) {
        this.#find(
          'changed',
          link.ordinal,
          link.place,
          `was changed: its number should be ${last.sequence + 1}`,
        )
      }
    } else if (this.#foundAgain(prev, link)) {
      // Said there.
    } else if (prev === last.before) {
      this.#find(
        'inserted',
        last.ordinal,
        last.place,
        'was put in: the next record continues from the one before it',
      )
    } else if (prev === GENESIS && sequence === 1 && last.action === 'gate-stopped') {
      this.#note(`${at(link.place)} begins a new chain`)
    } else if (sequence === last.sequence + 1) {
      this.#doubt = { earlier: last, later: link }
    } else if (sequence > last.sequence) {
      this.#addGap({
        ordinal: link.ordinal,
        place: link.place,
        after: last.hash,
        missing: sequence - last.sequence - 1,
      })
    } else {
      const what =
        sequence === 1
          ? 'begins a new run that does not continue from the record before it: records are missing between them'
          : `is out of order, or records are missing before it: it comes behind number ${last.sequence}`
      this.#find(sequence === 1 ? 'missing' : 'moved', link.ordinal, link.place, what)
    }
  }

  #restarted({ action, place }: Link): void {
    if (action !== 'gate-stopped')
      this.#note(`${at(place)} is the last of a run that ended without gate-stopped`)
  }

  /** The later of the two was changed when its hash is not the one that comes next, either. */
  #settleDoubt(nextFits: boolean): void {
    if (!this.#doubt) return
    const { earlier, later } = this.#doubt
    this.#doubt = undefined
    const { ordinal, place } = nextFits ? earlier : later
    this.#find('changed', ordinal, place, 'was changed: its neighbours say another hash')
  }

  /** A record that was missing further up. */
  #foundAgain(prev: string, link: Link): boolean {
    const gap = this.#gaps.find(({ after }) => after === prev)
    if (!gap) return false
    this.#gaps = this.#gaps.filter((one) => one !== gap)
    this.#find('moved', gap.ordinal, gap.place, `was moved: it belongs behind ${at(link.place)}`)
    return true
  }

  #addGap(gap: Gap): void {
    this.#gaps.push(gap)
    if (this.#gaps.length <= MAX_GAPS) return
    const [oldest] = this.#gaps.splice(0, 1)
    if (oldest) this.#missing(oldest)
  }

  #missing({ ordinal, place, missing, lostBy }: Gap): void {
    const records = missing === 1 ? 'one record is' : `${missing} records are`
    const elsewhere =
      lostBy === undefined
        ? ''
        : `; ${lostBy} lost as many there, and if this is its trail, say --sink '${lostBy}'`
    this.#find('missing', ordinal, place, `${records} missing before it${elsewhere}`)
  }

  /** `audit-recovered` says how many records a sink never got, and behind which; that excuses no other sink. */
  #explain({ event, sallyport: { lost, after, sink } }: ChainRecord): void {
    if (event.action !== 'audit-recovered' || lost === undefined || sink === undefined) return
    const gap = this.#gaps.find((one) => one.after === after && one.missing === lost)
    if (!gap) return
    if (this.#sink === undefined ? !isFileName(sink) : sink !== this.#sink) {
      gap.lostBy = printable(sink, 200)
      return
    }
    this.#gaps = this.#gaps.filter((one) => one !== gap)
    this.#lost += lost
    this.#note(`${lost} records were lost before ${at(gap.place)}, as the trail itself says`)
  }

  #find(kind: FindingKind, ordinal: number, place: Place, message: string): void {
    this.#findings += 1
    if (!this.#first || ordinal < this.#first.ordinal) this.#first = { ...place, kind, message, ordinal }
  }

  #note(text: string): void {
    if (this.#notes.length < MAX_NOTES) this.#notes.push(text)
  }
}

/** The other ways out are called `standard output`, or by an address such as `tcp://10.0.0.5:514`. */
function isFileName(sink: string): boolean {
  return sink !== 'standard output' && !/^[a-z]+:\/\//.test(sink)
}

export function at({ file, line, sequence }: Place): string {
  return `${file}:${line}${sequence === undefined ? '' : ` (number ${sequence})`}`
}
