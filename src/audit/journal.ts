/** The audit trail: numbers the records, has pino write them, hands the lines to the sinks. */
import { pino } from 'pino'
import type { Clock } from '../clock.ts'
import { verbOf } from '../policy/refusal.ts'
import { ECS_VERSION, toRecord, type AuditEvent } from './record.ts'
import type { AuditSink } from './sinks.ts'

/** What the pipeline needs of the audit trail. */
export interface Audit {
  /**
   * Whether tunnels may open: false while a sink fails and `audit.onError` is `deny`.
   */
  readonly accepting: boolean
  record(event: AuditEvent): void
  /**
   * Whether what was recorded so far is written; waits for it while `audit.onError` is `deny`, so that a tunnel whose
   * opening cannot be recorded carries nothing.
   */
  written(): true | Promise<boolean>
}

/** How long a tunnel waits for the record of its opening; a sink slower than this counts as failing. */
const WRITE_TIMEOUT_MS = 5000

export interface JournalOptions {
  readonly sinks: readonly AuditSink[]
  readonly clock: Clock
  /** `denied` leaves out opened and closed tunnels. */
  readonly record: 'all' | 'denied'
  readonly onError: 'deny' | 'continue'
  /** Version of the program, for `service.version`. */
  readonly version: string
}

export class Journal implements Audit {
  readonly #options: JournalOptions
  readonly #logger: ReturnType<typeof createLogger>
  #sequence = 0
  readonly #totals = { opened: 0, denied: 0, failed: 0, closed: 0 }

  constructor(options: JournalOptions) {
    this.#options = options
    this.#logger = createLogger(options)
  }

  get accepting(): boolean {
    return this.#options.onError === 'continue' || this.#options.sinks.every((sink) => sink.healthy)
  }

  /** Records that no sink will ever get. */
  get lost(): number {
    return this.#options.sinks.reduce((sum, sink) => sum + sink.lost, 0)
  }

  /** How many tunnels opened and closed, and how many attempts were denied or failed, recorded or not. */
  get totals(): Readonly<Record<'opened' | 'denied' | 'failed' | 'closed', number>> {
    return { ...this.#totals }
  }

  record(event: AuditEvent): void {
    if (event.kind === 'refused') this.#totals[verbOf(event.refusal)] += 1
    else if (event.kind !== 'gate') this.#totals[event.kind] += 1
    const routine = event.kind === 'closed' || (event.kind === 'opened' && !event.attempt.wouldDeny)
    if (routine && this.#options.record === 'denied') return
    this.#sequence += 1
    const { level, message, fields } = toRecord(event, this.#sequence)
    this.#logger[level](fields, message)
  }

  written(): true | Promise<boolean> {
    const { onError, sinks } = this.#options
    const [only] = sinks
    if (onError === 'continue' || !only) return true
    if (sinks.length === 1) return only.written(WRITE_TIMEOUT_MS)
    return Promise.all(sinks.map((sink) => sink.written(WRITE_TIMEOUT_MS))).then((all) => all.every(Boolean))
  }

  async flush(timeoutMs: number): Promise<boolean> {
    const flushed = await Promise.all(this.#options.sinks.map((sink) => sink.flush(timeoutMs)))
    return flushed.every(Boolean)
  }
}

function createLogger({ sinks, clock, version }: JournalOptions) {
  return pino(
    {
      base: { ecs: { version: ECS_VERSION }, service: { name: 'sallyport', version } },
      messageKey: 'message',
      timestamp: () => `,"@timestamp":"${new Date(clock.wallMs()).toISOString()}"`,
      formatters: { level: (label) => ({ log: { level: label } }) },
    },
    {
      write(line: string) {
        for (const sink of sinks) sink.write(line)
      },
    },
  )
}
