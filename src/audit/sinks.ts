/** Where finished lines go. A sink never blocks the event loop and never loses a line without counting it. */
import { write as fsWrite } from 'node:fs'

export interface AuditSink {
  readonly name: string
  /** Whether the last write worked. While it is false, lines queue up and writing is tried again. */
  readonly healthy: boolean
  /** Lines given up: the queue was full, or the process ended first. */
  readonly lost: number
  /** Takes one line, its newline included. */
  write(line: string): void
  /**
   * Settles when the lines so far are written (true), or when writing has failed or takes longer than `timeoutMs`
   * (false; they stay queued).
   */
  written(timeoutMs: number): Promise<boolean>
  /** Waits until everything is written, at most `timeoutMs`; says whether it is. What is not counts as lost. */
  flush(timeoutMs: number): Promise<boolean>
}

export interface FdSinkOptions {
  readonly name: string
  readonly fd: number
  /** Bytes of waiting lines; beyond them new lines are lost. Default 16 MiB. */
  readonly maxQueueBytes?: number
  /** Makes of a line what is written, such as words for a terminal. Default: the line. */
  readonly format?: (line: string) => string
  /** Milliseconds between tries while writing fails. Default 1000. */
  readonly retryMs?: number
  /** Called when writing starts to fail, with the errno's name, and when it works again. */
  readonly onTrouble?: (code: string) => void
  readonly onRecovered?: (lost: number) => void
}

const DEFAULT_MAX_QUEUE_BYTES = 16 * 1024 * 1024
const DEFAULT_RETRY_MS = 1000
/** A full pipe is no failure yet: its reader may be slow. */
const BUSY_RETRY_MS = 10
/** Milliseconds between writes while lines keep coming. */
const GATHER_MS = 2

/**
 * Writes to a descriptor from a thread of libuv's pool, one write at a time: whatever gathers meanwhile goes out
 * together. A pipe whose reader sleeps, or a slow disk, holds up that thread and nothing else.
 */
export class FdSink implements AuditSink {
  readonly name: string
  healthy = true
  lost = 0
  readonly #options: FdSinkOptions
  #queue: string[] = []
  #queuedBytes = 0
  /** What the running write has left. */
  #batch: Buffer | undefined
  #writing = false
  #drainScheduled = false
  #lostWhenTroubled = 0
  /** Who waits for lines in the queue, and for those of the running write; all hear of a failure. */
  #waiting: ((written: boolean) => void)[] = []
  #batchWaiting: ((written: boolean) => void)[] = []

  constructor(options: FdSinkOptions) {
    this.name = options.name
    this.#options = options
  }

  write(record: string): void {
    const line = this.#options.format?.(record) ?? record
    const size = Buffer.byteLength(line)
    if (this.#queuedBytes + (this.#batch?.length ?? 0) + size > this.#maxQueueBytes) {
      this.lost += 1
      this.#fail('EOVERFLOW')
      return
    }
    this.#queue.push(line)
    this.#queuedBytes += size
    this.#drainSoon()
  }

  written(timeoutMs: number): Promise<boolean> {
    // In this order: a line that was lost leaves an empty queue behind, and is not written.
    if (!this.healthy) return Promise.resolve(false)
    if (this.#idle) return Promise.resolve(true)
    return this.#settled(timeoutMs)
  }

  async flush(timeoutMs: number): Promise<boolean> {
    if (this.#idle) return true
    // A sink that fails gets one more try; one that works, all the time there is.
    if (!this.healthy) await this.#settled(Math.min(timeoutMs, this.#retryMs + BUSY_RETRY_MS))
    else await this.#settled(timeoutMs)
    if (this.#idle) return true
    // Of the batch that is under way, what has left whole has left.
    this.lost += this.#queue.length + countLines(this.#batch)
    return false
  }

  #settled(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // Not done in this time is failing: from now on nobody else waits as long.
        this.#fail('ETIMEDOUT')
        resolve(false)
      }, timeoutMs)
      this.#waiting.push((written) => {
        clearTimeout(timer)
        resolve(written)
      })
    })
  }

  #settle(waiting: ((written: boolean) => void)[], written: boolean): void {
    for (const tell of waiting.splice(0)) tell(written)
  }

  get #maxQueueBytes(): number {
    return this.#options.maxQueueBytes ?? DEFAULT_MAX_QUEUE_BYTES
  }

  get #retryMs(): number {
    return this.#options.retryMs ?? DEFAULT_RETRY_MS
  }

  get #idle(): boolean {
    return this.#queue.length === 0 && !this.#batch
  }

  /** One write for all that one turn of the event loop records. */
  #drainSoon(): void {
    if (this.#writing || this.#drainScheduled) return
    this.#drainScheduled = true
    setImmediate(() => {
      this.#drainScheduled = false
      this.#drain()
    })
  }

  /** Under load: waking the pool's thread costs more than writing, so lines gather for a moment. */
  #drainLater(): void {
    this.#drainScheduled = true
    setTimeout(() => {
      this.#drainScheduled = false
      this.#drain()
    }, GATHER_MS)
  }

  #drain(): void {
    if (this.#writing) return
    if (!this.#batch) {
      if (this.#queue.length === 0) return
      this.#batch = Buffer.from(this.#queue.join(''))
      this.#queue = []
      this.#queuedBytes = 0
      this.#batchWaiting = this.#waiting.splice(0)
    }
    this.#writing = true
    fsWrite(this.#options.fd, this.#batch, (error, written) => {
      if (error) this.#onError(error.code ?? error.message)
      else this.#onWritten(written)
    })
  }

  #onWritten(written: number): void {
    this.#writing = false
    const rest = this.#batch?.subarray(written)
    this.#batch = rest && rest.length > 0 ? rest : undefined
    if (!this.#batch) {
      this.#settle(this.#batchWaiting, true)
      if (this.#queue.length === 0) this.#settle(this.#waiting, true)
      this.#recover()
    }
    if (this.#batch) this.#drain()
    else if (this.#queue.length > 0) this.#drainLater()
  }

  #onError(code: string): void {
    const busy = code === 'EAGAIN' || code === 'EBUSY'
    if (!busy) {
      this.#fail(code)
      this.#settle(this.#batchWaiting, false)
      this.#settle(this.#waiting, false)
    }
    // `#writing` stays true until the next try, so that new lines only queue up. It does not keep the process alive.
    setTimeout(
      () => {
        this.#writing = false
        this.#drain()
      },
      busy ? BUSY_RETRY_MS : this.#retryMs,
    ).unref()
  }

  /** A whole batch is out and there is room again; less would have it fail and recover with every write. */
  #recover(): void {
    if (this.healthy || this.#queuedBytes > this.#maxQueueBytes / 2) return
    this.healthy = true
    this.#options.onRecovered?.(this.lost - this.#lostWhenTroubled)
  }

  #fail(code: string): void {
    if (!this.healthy) return
    this.healthy = false
    this.#lostWhenTroubled = code === 'EOVERFLOW' ? this.lost - 1 : this.lost
    this.#options.onTrouble?.(code)
  }
}

function countLines(bytes: Buffer | undefined): number {
  return bytes ? bytes.toString('latin1').split('\n').length - 1 : 0
}
