/** Where finished lines go. A sink never blocks the event loop and never loses a line without counting it. */
import { write as fsWrite } from 'node:fs'
import { QueuedSink, type Outlet, type QueuedSinkOptions, type Sent } from './queued-sink.ts'

export interface AuditSink {
  readonly name: string
  /** Whether the last write worked. While it is false, lines queue up and writing is tried again. */
  readonly healthy: boolean
  /** Lines given up: the queue was full, the other side refused them, or the process ended first. */
  readonly lost: number
  /** Takes one line, its newline included. */
  write(line: string): void
  /**
   * Settles when the lines so far are written (true), or when writing has failed or takes longer than `timeoutMs`
   * (false; they stay queued), which counts from the first that waits for the same write.
   */
  written(timeoutMs: number): Promise<boolean>
  /**
   * Waits until everything is written, at most `timeoutMs`, and closes; says whether all is well. What is not written
   * counts as lost.
   */
  flush(timeoutMs: number): Promise<boolean>
}

/** Where lines are missing from a sink. */
export interface Loss {
  /** Hash of the last line before the gap; the next one that it gets comes behind the gap. */
  readonly after?: string
}

export interface FdSinkOptions extends Omit<QueuedSinkOptions, 'outlet'> {
  readonly fd: number
}

/** Writes to a descriptor; a line that no longer matters to whoever opened it stays the writer's. */
export class FdSink extends QueuedSink {
  constructor({ fd, ...options }: FdSinkOptions) {
    super({ ...options, outlet: new FdOutlet(fd) })
  }
}

/**
 * Writes from a thread of libuv's pool. A pipe whose reader sleeps, or a slow disk, holds up that thread and nothing
 * else.
 */
export class FdOutlet implements Outlet {
  readonly #fd: number
  /** What is left of the lines that are under way; it may start within a line. */
  #rest: Buffer | undefined
  #restLines = 0

  constructor(fd: number) {
    this.#fd = fd
  }

  /** Whether lines are under way: then the next `send` goes on with those, and looks at no others. */
  get midway(): boolean {
    return this.#rest !== undefined
  }

  send(lines: readonly string[], done: (sent: Sent) => void): void {
    if (!this.#rest) this.#restLines = lines.length
    const bytes = (this.#rest ??= Buffer.from(lines.join('')))
    fsWrite(this.#fd, bytes, (error, written) => {
      if (error) {
        done({ delivered: 0, failure: error.code ?? error.message })
        return
      }
      const whole = written === bytes.length
      const delivered = whole ? this.#restLines : countLines(bytes.subarray(0, written))
      this.#rest = whole ? undefined : bytes.subarray(written)
      this.#restLines -= delivered
      done({ delivered })
    })
  }
}

function countLines(bytes: Buffer): number {
  let count = 0
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) count += 1
  return count
}
