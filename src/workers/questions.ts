/** Questions to a worker that wait for their answers. */
import type { Answer, Question } from './protocol.ts'

/** A worker that is this busy, or gone, is left out. */
const PATIENCE_MS = 2000

export class Questions {
  readonly #send: (id: number, question: Question) => void
  readonly #waiting = new Map<number, (answer: Answer | undefined) => void>()
  #lastId = 0

  constructor(send: (id: number, question: Question) => void) {
    this.#send = send
  }

  ask(question: Question): Promise<Answer | undefined> {
    this.#lastId += 1
    const id = this.#lastId
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.settle(id, undefined), PATIENCE_MS).unref()
      this.#waiting.set(id, (answer) => {
        clearTimeout(timer)
        resolve(answer)
      })
      this.#send(id, question)
    })
  }

  settle(id: number, answer: Answer | undefined): void {
    this.#waiting.get(id)?.(answer)
    this.#waiting.delete(id)
  }

  /** Nobody will answer any more. */
  abandon(): void {
    for (const id of this.#waiting.keys()) this.settle(id, undefined)
  }
}
