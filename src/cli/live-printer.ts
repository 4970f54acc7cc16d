/** Prints denials as they come. Those of several files that come at about the same time are put in their order. */
import type { Denial } from '../review/denial.ts'
import type { Asked, Expectation } from '../review/expected.ts'
import { formatLive, toLiveJson } from '../review/live-line.ts'

const TICK_MS = 250

export class LivePrinter {
  readonly #expected: (asked: Asked) => Expectation
  readonly #json: boolean
  readonly #write: (text: string) => void
  #waiting: Denial[] = []
  #timer: NodeJS.Timeout | undefined

  constructor(expected: (asked: Asked) => Expectation, json: boolean, write: (text: string) => void) {
    this.#expected = expected
    this.#json = json
    this.#write = write
  }

  /** From now on. What was there before is in the table. */
  start(): void {
    this.#timer = setInterval(() => this.#flush(), TICK_MS)
  }

  take(denial: Denial): void {
    if (this.#timer) this.#waiting.push(denial)
  }

  stop(): void {
    clearInterval(this.#timer)
    this.#flush()
  }

  #flush(): void {
    if (this.#waiting.length === 0) return
    const denials = this.#waiting.toSorted((a, b) => a.last - b.last)
    this.#waiting = []
    const format = this.#json ? toLiveJson : formatLive
    this.#write(denials.map((denial) => `${format(denial, this.#expected(denial))}\n`).join(''))
  }
}
