/**
 * Where a text next stands in a buffer. Searching runs through many lines at once in native code, so a text that is rare
 * costs next to nothing for the lines that do not have it.
 */
const NOWHERE = Number.POSITIVE_INFINITY

export class Cursor {
  readonly #needle: Buffer
  #buffer: Buffer = Buffer.alloc(0)
  #at = -1

  constructor(text: string) {
    this.#needle = Buffer.from(text)
  }

  enter(buffer: Buffer): void {
    this.#buffer = buffer
    this.#at = -1
  }

  /** The first place of the text in a line, or -1. Lines are asked for in their order. */
  within(start: number, end: number): number {
    if (this.#at < start) {
      const found = this.#buffer.indexOf(this.#needle, start)
      this.#at = found === -1 ? NOWHERE : found
    }
    return this.#at < end ? this.#at : -1
  }
}
