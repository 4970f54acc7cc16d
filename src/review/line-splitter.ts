/** Splits a stream of chunks into lines without copying: only a line that crosses two chunks is put together. */

/** A record is a few kilobytes at most, since text of clients is bounded; a longer line is none. */
export const MAX_LINE_BYTES = 1024 * 1024

const LINE_FEED = 0x0a
const EMPTY = Buffer.alloc(0)

export interface LineVisitor {
  /** The lines that follow lie in this buffer. */
  enter(buffer: Buffer): void
  /** One line, without its end. The buffer is reused afterwards. */
  line(start: number, end: number): void
  /** A line of more than {@link MAX_LINE_BYTES}, which was not kept. */
  longLine(bytes: number): void
}

export class LineSplitter {
  readonly #visitor: LineVisitor
  /** The start of a line whose end is still to come, copied: the chunk belongs to the caller. */
  #head: Buffer[] = []
  #headBytes = 0

  constructor(visitor: LineVisitor) {
    this.#visitor = visitor
  }

  push(chunk: Buffer): void {
    let start = 0
    if (this.#headBytes > 0) {
      const end = chunk.indexOf(LINE_FEED)
      this.#keep(end === -1 ? chunk : chunk.subarray(0, end))
      if (end === -1) return
      this.#flush()
      start = end + 1
    }
    this.#visitor.enter(chunk)
    for (;;) {
      const end = chunk.indexOf(LINE_FEED, start)
      if (end === -1) break
      if (end - start > MAX_LINE_BYTES) this.#visitor.longLine(end - start)
      else if (end > start) this.#visitor.line(start, end)
      start = end + 1
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start))
  }

  /** The stream is over: what is left is a line too. */
  end(): void {
    if (this.#headBytes > 0) this.#flush()
  }

  #keep(part: Buffer): void {
    this.#headBytes += part.length
    if (this.#headBytes <= MAX_LINE_BYTES) this.#head.push(Buffer.from(part))
    else this.#head = []
  }

  #flush(): void {
    const bytes = this.#headBytes
    const line = this.#head.length > 0 ? Buffer.concat(this.#head) : EMPTY
    this.#head = []
    this.#headBytes = 0
    if (bytes > MAX_LINE_BYTES) {
      this.#visitor.longLine(bytes)
      return
    }
    this.#visitor.enter(line)
    this.#visitor.line(0, line.length)
  }
}
