/** The audit trail as the pipeline sees it: a scribe, which writes lines, and the ledger that they go to. */
import { Ledger, type LedgerOptions, type Lines } from './ledger.ts'
import type { AuditEvent } from './record.ts'
import { Scribe, type ScribeOptions, type Totals } from './scribe.ts'

/** What the pipeline needs of the audit trail. */
export interface Audit {
  /** Whether tunnels may open: false while a sink fails and `audit.onError` is `deny`. */
  readonly accepting: boolean
  record(event: AuditEvent): void
  /**
   * Whether what was recorded so far is written; waits for it while `audit.onError` is `deny`, so that a tunnel whose
   * opening cannot be recorded carries nothing.
   */
  written(): true | Promise<boolean>
}

/** @typeParam L the ledger itself, or what leads to it in another process */
export class Journal<L extends Lines = Ledger> implements Audit {
  readonly ledger: L
  readonly #scribe: Scribe

  constructor(options: ScribeOptions, ledger: L) {
    this.ledger = ledger
    this.#scribe = new Scribe(options, (line, stampFrom) => ledger.append(line, stampFrom))
  }

  get accepting(): boolean {
    return this.ledger.accepting
  }

  get totals(): Totals {
    return this.#scribe.totals
  }

  /** How many kinds of denials folding remembers now: bounded, whatever clients ask for. */
  get remembered(): number {
    return this.#scribe.remembered
  }

  record(event: AuditEvent): void {
    this.#scribe.record(event)
  }

  written(): true | Promise<boolean> {
    return this.ledger.written()
  }

  /** When the gate has stopped, and before the ledger is flushed: denials that are only counted so far are recorded. */
  flushFolds(): void {
    this.#scribe.flushFolds()
  }
}

/** Scribe and ledger in one process. */
export function createJournal(options: ScribeOptions & LedgerOptions): Journal {
  return new Journal(options, new Ledger(options))
}
