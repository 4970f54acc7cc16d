/** Lines of a file, plain or compressed, as bytes; memory stays the same however large the file and its lines are. */
import { open } from 'node:fs/promises'
import { decompressed } from './decompress.ts'

export interface Line {
  /** Without the newline; `undefined` for a line that is too long to be a record. */
  readonly bytes: Buffer | undefined
  /** Whether its newline is there. */
  readonly ended: boolean
}

/** The longest line that is handed out; a record has some hundred bytes. */
export const MAX_LINE_BYTES = 1024 * 1024
const CHUNK_BYTES = 256 * 1024
const NEWLINE = 10

/**
 * Many lines at a time. Throws the system's error for a file that cannot be read, and zlib's for a damaged one.
 *
 * @param onBytes how much of the file has been read, as it lies on the disk
 */
export async function* readLines(
  path: string,
  onBytes: (count: number) => void = () => undefined,
): AsyncGenerator<readonly Line[]> {
  const splitter = new ByteSplitter()
  const file = await open(path)
  const read = () => file.createReadStream({ start: 0, autoClose: false, highWaterMark: CHUNK_BYTES })
  try {
    const source = read()
    source.on('data', (chunk) => onBytes(chunk.length))
    // Only looking: whoever reads from it starts it.
    source.pause()
    for await (const chunk of decompressed(source, read)) yield splitter.push(chunk)
    yield splitter.end()
  } finally {
    await file.close()
  }
}

/** Cuts chunks into lines. What is longer than a record can be is let go, and comes out as one line without bytes. */
class ByteSplitter {
  #rest: Buffer[] = []
  #restBytes = 0
  #tooLong = false

  push(chunk: Buffer): readonly Line[] {
    const lines: Line[] = []
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      lines.push({ bytes: this.#take(chunk.subarray(start, end)), ended: true })
      start = end + 1
    }
    if (start < chunk.length) this.#keep(chunk.subarray(start))
    return lines
  }

  end(): readonly Line[] {
    if (this.#restBytes === 0 && !this.#tooLong) return []
    return [{ bytes: this.#take(Buffer.alloc(0)), ended: false }]
  }

  #keep(part: Buffer): void {
    this.#restBytes += part.length
    if (this.#restBytes > MAX_LINE_BYTES) {
      this.#tooLong = true
      this.#rest = []
      this.#restBytes = 0
    }
    if (!this.#tooLong) this.#rest.push(part)
  }

  #take(part: Buffer): Buffer | undefined {
    if (this.#restBytes === 0 && !this.#tooLong) return part
    this.#keep(part)
    const line = this.#tooLong ? undefined : Buffer.concat(this.#rest)
    this.#rest = []
    this.#restBytes = 0
    this.#tooLong = false
    return line
  }
}
