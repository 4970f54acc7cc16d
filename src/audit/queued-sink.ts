/** The bounded queue in front of every way out: it waits, tries again, and counts to the line what was lost. */
import { hashLine } from './hash-line.ts'
import type { AuditSink, Loss } from './sinks.ts'

/** A way out: a descriptor, a file that rotates, a log server. */
export interface Outlet {
  /**
   * Sends lines, as many from the first on as suits it, and calls back once. After a failure or a part, those that are
   * left come again, first of all and in the same order.
   */
  send(lines: readonly string[], done: (sent: Sent) => void): void
  /** Everything is out and nothing will follow: tidies up. Settles with false when that failed. */
  close?(timeoutMs: number): Promise<boolean>
}

export interface Sent {
  /** How many lines are out whole. */
  readonly delivered: number
  /** How many of those the other side has refused for good. */
  readonly rejected?: number
  /** The errno's name or the like. `EAGAIN`: slow, but no failure. */
  readonly failure?: string
  /** After a failure: when to try again, in milliseconds. Default: {@link QueuedSinkOptions.retryMs}. */
  readonly retryMs?: number
}

export interface QueuedSinkOptions {
  readonly name: string
  readonly outlet: Outlet
  /** Bytes of waiting lines; beyond them new lines are lost. Default 16 MiB. */
  readonly maxQueueBytes?: number
  /** Makes of a line what is written, such as words for a terminal. Default: the line. */
  readonly format?: (line: string) => string
  /** Milliseconds between tries while writing fails. Default 1000. */
  readonly retryMs?: number
  /**
   * The records are safe elsewhere, so that this way out may lag behind: it is well while its queue has room, and nobody
   * waits for it.
   */
  readonly patient?: boolean
  /** Called when writing starts to fail, with the errno's name, and when it works again. */
  readonly onTrouble?: (code: string) => void
  readonly onRecovered?: (lost: number, loss: Loss) => void
}

const DEFAULT_MAX_QUEUE_BYTES = 16 * 1024 * 1024
const DEFAULT_RETRY_MS = 1000
/** A full pipe is no failure yet: its reader may be slow. */
const BUSY_RETRY_MS = 10
/** Milliseconds between writes while lines keep coming. */
const GATHER_MS = 2

/** One send at a time: whatever gathers meanwhile goes out together. */
export class QueuedSink implements AuditSink {
  readonly name: string
  lost = 0
  readonly #options: QueuedSinkOptions
  #queue: string[] = []
  #queuedBytes = 0
  /** What the running send has left. */
  #batch: readonly string[] = []
  #batchBytes = 0
  /** Some of the batch was refused for good: no sign that all is well again. */
  #refused = false
  #sending = false
  #retryTimer: NodeJS.Timeout | undefined
  /** Why writing fails; nothing while it works. */
  #failure: string | undefined
  #drainScheduled = false
  /** The queue was full: nothing is taken until there is room for good, so that what is missing is one gap. */
  #full = false
  #lostWhenTroubled = 0
  /** The last line that was taken. */
  #last: string | undefined
  /** Who waits for lines in the queue, and for those of the running send; all hear of a failure. */
  #waiting: ((written: boolean) => void)[] = []
  #batchWaiting: ((written: boolean) => void)[] = []
  /** What those have who wait for lines in the queue: one promise and one timer, however many tunnels they are. */
  #together: Promise<boolean> | undefined

  constructor(options: QueuedSinkOptions) {
    this.name = options.name
    this.#options = options
  }

  get healthy(): boolean {
    return this.#failure === undefined || (this.#options.patient === true && !this.#full)
  }

  write(record: string): void {
    const line = this.#options.format?.(record) ?? record
    const size = Buffer.byteLength(line)
    if (this.#full || this.#queuedBytes + this.#batchBytes + size > this.#maxQueueBytes) {
      this.lost += 1
      // With nothing on its way nothing would end it: that line alone was too large.
      this.#full = !this.#idle
      this.#fail('EOVERFLOW')
      return
    }
    this.#last = record
    this.#queue.push(line)
    this.#queuedBytes += size
    this.#drainSoon()
  }

  written(timeoutMs: number): Promise<boolean> {
    // In this order: a line that was lost leaves an empty queue behind, and is not written.
    if (!this.healthy) return Promise.resolve(false)
    if (this.#idle || this.#options.patient) return Promise.resolve(true)
    return (this.#together ??= this.#settled(timeoutMs))
  }

  async flush(timeoutMs: number): Promise<boolean> {
    const startMs = performance.now()
    // A sink that fails gets one more try; one that works, all the time there is.
    if (!this.#idle) {
      this.#retryNow()
      // A full queue is no failure of the way out.
      const failing = this.#failure !== undefined && this.#failure !== 'EOVERFLOW'
      await this.#settled(!failing ? timeoutMs : Math.min(timeoutMs, this.#retryMs + BUSY_RETRY_MS))
    }
    if (!this.#idle) {
      // Of the batch that is under way, what has left whole has left.
      this.lost += this.#queue.length + this.#batch.length
      return false
    }
    const leftMs = Math.max(0, timeoutMs - (performance.now() - startMs))
    return (await this.#options.outlet.close?.(leftMs)) ?? true
  }

  #settled(timeoutMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        // Not done in this time is failing: from now on nobody else waits as long.
        this.#fail('ETIMEDOUT')
        this.#together = undefined
        resolve(false)
      }, timeoutMs)
      this.#waiting.push((written) => {
        clearTimeout(timer)
        resolve(written)
      })
    })
  }

  #settle(waiting: ((written: boolean) => void)[], written: boolean): void {
    if (waiting === this.#waiting) this.#together = undefined
    for (const tell of waiting.splice(0)) tell(written)
  }

  get #maxQueueBytes(): number {
    return this.#options.maxQueueBytes ?? DEFAULT_MAX_QUEUE_BYTES
  }

  get #retryMs(): number {
    return this.#options.retryMs ?? DEFAULT_RETRY_MS
  }

  get #idle(): boolean {
    return this.#queue.length === 0 && this.#batch.length === 0
  }

  /** One send for all that one turn of the event loop records. */
  #drainSoon(): void {
    if (this.#sending || this.#drainScheduled) return
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
    if (this.#sending) return
    if (this.#batch.length === 0) {
      if (this.#queue.length === 0) return
      this.#batch = this.#queue
      this.#batchBytes = this.#queuedBytes
      this.#refused = false
      this.#queue = []
      this.#queuedBytes = 0
      this.#batchWaiting = this.#waiting.splice(0)
      this.#together = undefined
    }
    this.#sending = true
    this.#options.outlet.send(this.#batch, (sent) => this.#onSent(sent))
  }

  #onSent({ delivered, rejected = 0, failure, retryMs }: Sent): void {
    this.#takeOff(delivered)
    if (rejected > 0) {
      this.#fail(failure ?? 'EREJECTED')
      this.lost += rejected
      this.#refused = true
      this.#settle(this.#batchWaiting, false)
    } else if (failure !== undefined) {
      this.#retry(failure, retryMs)
      return
    }
    this.#sending = false
    if (this.#batch.length > 0) {
      this.#drain()
      return
    }
    this.#settle(this.#batchWaiting, true)
    if (this.#queue.length === 0) this.#settle(this.#waiting, true)
    this.#recover()
    if (this.#queue.length > 0) this.#drainLater()
  }

  #takeOff(delivered: number): void {
    if (delivered === 0) return
    if (delivered >= this.#batch.length) {
      this.#batch = []
      this.#batchBytes = 0
      return
    }
    for (const line of this.#batch.slice(0, delivered)) this.#batchBytes -= Buffer.byteLength(line)
    this.#batch = this.#batch.slice(delivered)
  }

  #retry(failure: string, retryMs = this.#retryMs): void {
    const busy = failure === 'EAGAIN' || failure === 'EBUSY'
    if (!busy) {
      this.#fail(failure)
      this.#settle(this.#batchWaiting, false)
      this.#settle(this.#waiting, false)
    }
    // `#sending` stays true until the next try, so that new lines only queue up. It does not keep the process alive.
    this.#retryTimer = setTimeout(() => this.#retryNow(), busy ? BUSY_RETRY_MS : retryMs).unref()
  }

  #retryNow(): void {
    if (!this.#retryTimer) return
    clearTimeout(this.#retryTimer)
    this.#retryTimer = undefined
    this.#sending = false
    this.#drain()
  }

  /** A whole batch is out and there is room again; less would have it fail and recover with every write. */
  #recover(): void {
    if (this.#failure === undefined || this.#refused || this.#queuedBytes > this.#maxQueueBytes / 2) return
    this.#failure = undefined
    this.#full = false
    const lost = this.lost - this.#lostWhenTroubled
    this.#options.onRecovered?.(lost, this.#last === undefined ? {} : { after: hashLine(this.#last) })
  }

  #fail(code: string): void {
    if (this.#failure !== undefined) return
    this.#failure = code
    this.#lostWhenTroubled = code === 'EOVERFLOW' ? this.lost - 1 : this.lost
    this.#options.onTrouble?.(code)
  }
}
