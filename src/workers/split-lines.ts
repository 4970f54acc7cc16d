/** Cuts a stream of bytes into lines, each with its newline; a line without one waits for the rest. */
export class LineSplitter {
  #rest: Buffer | undefined

  /** Whether the last line is still without its end. */
  get partial(): boolean {
    return this.#rest !== undefined
  }

  push(chunk: Buffer): readonly string[] {
    const bytes = this.#rest ? Buffer.concat([this.#rest, chunk]) : chunk
    const lines: string[] = []
    let start = 0
    for (let end = bytes.indexOf(10); end !== -1; end = bytes.indexOf(10, start)) {
      lines.push(bytes.toString('utf8', start, end + 1))
      start = end + 1
    }
    this.#rest = start < bytes.length ? bytes.subarray(start) : undefined
    return lines
  }
}
