/**
 * Gives every line its place, its number and the hash of the line before, and hands it to the sinks. There is exactly
 * one in a gate, however many processes write lines for it.
 */
import { hashLine } from './hash-line.ts'
import { formatStamp, STAMP } from './record.ts'
import type { AuditSink } from './sinks.ts'

/** What a journal needs of the ledger, which may be in another process. */
export interface Lines {
  /** Whether tunnels may open: false while a sink fails and `audit.onError` is `deny`. */
  readonly accepting: boolean
  /**
   * Takes a line of a scribe, its newline included.
   *
   * @param stampFrom at least how far into it the place for its stamp is; default 0
   */
  append(line: string, stampFrom?: number): void
  /**
   * Whether what was appended so far is written; waits for it while `audit.onError` is `deny`, so that a tunnel whose
   * opening cannot be recorded carries nothing.
   */
  written(): true | Promise<boolean>
}

export interface LedgerOptions {
  readonly sinks: readonly AuditSink[]
  readonly onError: 'deny' | 'continue'
  /** Hash of the last line of the file that is continued. Default: the chain starts here. */
  readonly head?: string
  /** Sees each line as it goes to the sinks. */
  readonly onLine?: ((line: string) => void) | undefined
}

/** `sallyport.prev` of the first record of a chain: there is no line before. */
export const GENESIS = `sha256:${'0'.repeat(64)}`

/** How long a tunnel waits for the record of its opening; a sink slower than this counts as failing. */
const WRITE_TIMEOUT_MS = 5000

export class Ledger implements Lines {
  readonly #sinks: readonly AuditSink[]
  readonly #onError: LedgerOptions['onError']
  readonly #onLine: LedgerOptions['onLine']
  #sequence = 0
  #head: string

  constructor({ sinks, onError, head = GENESIS, onLine }: LedgerOptions) {
    this.#sinks = sinks
    this.#onError = onError
    this.#head = head
    this.#onLine = onLine
  }

  get accepting(): boolean {
    return this.#onError === 'continue' || this.#sinks.every((sink) => sink.healthy)
  }

  /** Records that no sink will ever get. */
  get lost(): number {
    return this.#sinks.reduce((sum, sink) => sum + sink.lost, 0)
  }

  /** Hash of the last line. */
  get head(): string {
    return this.#head
  }

  append(line: string, stampFrom = 0): void {
    const at = line.indexOf(STAMP, stampFrom)
    if (at === -1) throw new TypeError('not a line of a scribe: it has no place for its number')
    this.#sequence += 1
    const stamp = formatStamp(this.#sequence, this.#head)
    const whole = `${line.slice(0, at)}${stamp}${line.slice(at + STAMP.length)}`
    this.#head = hashLine(whole)
    for (const sink of this.#sinks) sink.write(whole)
    this.#onLine?.(whole)
  }

  written(): true | Promise<boolean> {
    const sinks = this.#sinks
    const [only] = sinks
    if (this.#onError === 'continue' || !only) return true
    if (sinks.length === 1) return only.written(WRITE_TIMEOUT_MS)
    return Promise.all(sinks.map((sink) => sink.written(WRITE_TIMEOUT_MS))).then((all) => all.every(Boolean))
  }

  async flush(timeoutMs: number): Promise<boolean> {
    const flushed = await Promise.all(this.#sinks.map((sink) => sink.flush(timeoutMs)))
    return flushed.every(Boolean)
  }
}
