/** The ledger as a worker sees it: lines go down a pipe, and word comes back of what has been written. */
import type { Lines } from '../audit/ledger.ts'
import type { AuditSink } from '../audit/sinks.ts'

export interface RemoteLedgerOptions {
  /** The pipe to the supervisor. */
  readonly pipe: AuditSink
  readonly onError: 'deny' | 'continue'
}

interface Waiting {
  /** How many lines have to be written. */
  readonly lines: number
  readonly tell: (written: boolean) => void
}

export class RemoteLedger implements Lines {
  readonly #pipe: AuditSink
  readonly #onError: RemoteLedgerOptions['onError']
  #appended = 0
  #written = 0
  #accepting = true
  #waiting: Waiting[] = []

  constructor({ pipe, onError }: RemoteLedgerOptions) {
    this.#pipe = pipe
    this.#onError = onError
  }

  get accepting(): boolean {
    return this.#onError === 'continue' || (this.#accepting && this.#pipe.healthy)
  }

  append(line: string): void {
    this.#appended += 1
    this.#pipe.write(line)
  }

  written(): true | Promise<boolean> {
    if (this.#onError === 'continue' || this.#written >= this.#appended) return true
    return new Promise((tell) => this.#waiting.push({ lines: this.#appended, tell }))
  }

  /**
   * Word of the supervisor on the first `lines` lines.
   *
   * @param ok whether they are written
   * @param accepting whether the sinks work now
   */
  acknowledge(lines: number, ok: boolean, accepting: boolean): void {
    this.#accepting = accepting
    if (ok) this.#written = Math.max(this.#written, lines)
    const [done, rest] = [
      this.#waiting.filter((one) => one.lines <= lines),
      this.#waiting.filter((one) => one.lines > lines),
    ]
    this.#waiting = rest
    for (const { tell } of done) tell(ok)
  }

  /** The supervisor is gone: nothing will be written any more. */
  sever(): void {
    this.acknowledge(this.#appended, false, false)
  }
}
