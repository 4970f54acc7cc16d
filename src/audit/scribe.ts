/** Writes events as lines, by pino: all of a record but its place in the chain. One for each process that runs tunnels. */
import { pino, type Logger } from 'pino'
import type { Clock } from '../clock.ts'
import { verbOf } from '../policy/refusal.ts'
import { foldedRecord } from './folded-record.ts'
import type { Attempt } from './attempt.ts'
import { Folding, type FoldLimits } from './folding.ts'
import { members } from './json-text.ts'
import { ECS_VERSION, STAMP, toRecord, type AuditEvent, type AuditRecord } from './record.ts'

export interface ScribeOptions {
  readonly clock: Clock
  /** `denied` leaves out tunnels and requests that the policy allows, and no other would deny. */
  readonly record: 'all' | 'denied'
  /** Version of the program, for `service.version`. */
  readonly version: string
  /** When denials are counted instead of recorded one by one. Default: never. */
  readonly fold?: FoldLimits | null | undefined
  /** What tells this gate from others, for `service.node.name`: a host, a pod, a container. */
  readonly nodeName: string
}

/** How many tunnels opened and closed, requests were forwarded, and attempts denied or failed, recorded or not. */
export type Totals = Readonly<Record<'opened' | 'forwarded' | 'denied' | 'failed' | 'closed', number>>

export class Scribe {
  readonly #record: ScribeOptions['record']
  readonly #logger: Logger
  readonly #timestamp: () => string
  /** What is the same on every record. */
  readonly #base: string
  readonly #folding: Folding | undefined
  /** With `denied`: tunnels whose opening is on record, so that their end is. */
  readonly #recorded = new WeakSet<Attempt>()
  readonly #totals = { opened: 0, forwarded: 0, denied: 0, failed: 0, closed: 0 }

  /** What is written just now, between level and message. */
  #fields = ''
  /** Where the stamp goes, seen from the beginning of {@link #fields}. */
  #stampAt = 0

  /** @param append takes each line, with its newline, and at least how far into it the place for the stamp is */
  constructor(options: ScribeOptions, append: (line: string, stampFrom: number) => void) {
    const { clock, record, version, nodeName } = options
    this.#record = record
    this.#timestamp = createTimestamps(clock)
    this.#base = members({
      ecs: { version: ECS_VERSION },
      service: { name: 'sallyport', version, node: { name: nodeName } },
    })
    this.#logger = pino(
      {
        base: null,
        messageKey: 'message',
        // The one place where pino takes text that is JSON already (its documentation of `timestamp`).
        timestamp: () => this.#fields,
        formatters: { level: (label) => ({ log: { level: label } }) },
      },
      { write: (line: string) => append(line, this.#stampAt) },
    )
    if (options.fold) {
      this.#folding = new Folding(options.fold, options.clock, (fold) => this.#write(foldedRecord(fold)))
    }
  }

  get totals(): Totals {
    return { ...this.#totals }
  }

  /** What folding remembers now. */
  get remembered(): number {
    return this.#folding?.remembered ?? 0
  }

  record(event: AuditEvent): void {
    if (event.kind === 'refused') this.#totals[verbOf(event.refusal)] += 1
    else if (event.kind !== 'gate') this.#totals[event.kind === 'lost' ? 'closed' : event.kind] += 1
    if (this.#record === 'denied' && this.#isRoutine(event)) return
    if (event.kind === 'refused' && verbOf(event.refusal) === 'denied') {
      if (this.#folding?.take(event.attempt, event.refusal) === false) return
    }
    this.#write(toRecord(event))
  }

  /** What was allowed, by the policy in force in its mode and by the one to come; and the end of such a tunnel. */
  #isRoutine(event: AuditEvent): boolean {
    switch (event.kind) {
      case 'opened':
      case 'forwarded': {
        const { wouldDeny, candidate } = event.attempt
        if (!wouldDeny && !candidate) return true
        if (event.kind === 'opened') this.#recorded.add(event.attempt)
        return false
      }
      case 'closed':
        // An end that is a denial is none of the routine.
        return event.code !== 'sni_changed' && !this.#recorded.has(event.attempt)
      // It has the record of its opening, and that is why it is known.
      case 'lost':
      case 'refused':
      case 'gate':
        return false
    }
  }

  /** Records what is only counted so far: before the last record, so that all of them add up. */
  flushFolds(): void {
    this.#folding?.flush()
  }

  #write({ level, message, outer, event, own }: AuditRecord): void {
    const before = `${this.#timestamp()}${this.#base}${outer},"event":{${event},`
    this.#stampAt = before.length
    this.#fields = `${before}${STAMP}${own}}`
    this.#logger[level](message)
  }
}

/** `2026-11-23T08:51:19.123Z`; the date is formatted once a second, since formatting it costs as much as a hash. */
function createTimestamps(clock: Clock): () => string {
  let second = Number.NaN
  let prefix = ''
  return () => {
    const nowMs = Math.floor(clock.wallMs())
    const now = Math.floor(nowMs / 1000)
    if (now !== second) {
      second = now
      prefix = `,"@timestamp":"${new Date(now * 1000).toISOString().slice(0, -4)}`
    }
    const ms = nowMs - now * 1000
    return `${prefix}${ms < 10 ? '00' : ms < 100 ? '0' : ''}${ms}Z"`
  }
}
