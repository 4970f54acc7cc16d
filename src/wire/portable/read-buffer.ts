/**
 * What a dialled socket reads into, again and again (`onread` of net.Socket), instead of a new buffer for each read: half
 * the cost of a download, and no garbage. Small until a read fills it, large while that goes on, and small again when
 * reads have become small, so that an idle tunnel holds little.
 */

const SMALL_BYTES = 4 * 1024
/** Larger than what Node would read at once, since each read costs a turn. */
const LARGE_BYTES = 256 * 1024
/** Small reads in a row after which the large buffer is given back. */
const PATIENCE = 16
/** Small buffers that sockets have left behind: making one costs more than setting up the rest of a socket's reading. */
const spare: Buffer[] = []
const MAX_SPARE = 256

export class ReadBuffer {
  #bytes = spare.pop() ?? Buffer.allocUnsafeSlow(SMALL_BYTES)
  #lent = false
  #wanted = SMALL_BYTES
  #smallReads = 0
  /** Gets the bytes of a read; they are overwritten by the next one unless {@link lend} says otherwise. */
  onBytes: (bytes: Buffer) => void = () => undefined

  /** For `onread.buffer`: called once at first, and after each read. */
  readonly next = (): Buffer => {
    if (this.#lent || this.#bytes.length !== this.#wanted) {
      this.#bytes = Buffer.allocUnsafeSlow(this.#wanted)
      this.#lent = false
    }
    return this.#bytes
  }

  /** For `onread.callback`. */
  readonly take = (count: number): boolean => {
    const bytes = this.#bytes
    if (count === bytes.length) this.#wanted = LARGE_BYTES
    this.#smallReads = count > SMALL_BYTES ? 0 : this.#smallReads + 1
    if (this.#smallReads >= PATIENCE) this.#wanted = SMALL_BYTES
    this.onBytes(bytes.subarray(0, count))
    // The socket's own pause() says when to stop.
    return true
  }

  /** The bytes just given are still needed, such as by a write that has not gone out whole: the next read gets others. */
  lend(): void {
    this.#lent = true
  }

  /** The socket is closed. What was lent may still be on its way out. */
  giveBack(): void {
    if (!this.#lent && this.#bytes.length === SMALL_BYTES && spare.length < MAX_SPARE) spare.push(this.#bytes)
    this.#lent = true
  }
}
