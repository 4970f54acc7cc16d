/**
 * A named pipe for the running test. It and its readers are gone with the test; a writer stays open, because a sink may
 * still try to write to it, and must not meet another file under the same number.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { until, within } from './deadline.ts'

export class Fifo {
  readonly path: string
  readonly #readers = new Set<number>()

  constructor() {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-fifo-'))
    this.path = join(folder, 'pipe')
    execFileSync('mkfifo', [this.path])
    onTestFinished(() => {
      for (const fd of this.#readers) closeSync(fd)
      rmSync(folder, { recursive: true, force: true })
    })
  }

  /** A reader that reads when told. */
  reader(): number {
    const fd = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK)
    this.#readers.add(fd)
    return fd
  }

  /** There must be a reader. `blocking`: a write waits for room, as it does in a shell's pipe. */
  writer(kind: 'blocking' | 'non-blocking' = 'non-blocking'): number {
    const mode = kind === 'blocking' ? 0 : constants.O_NONBLOCK
    // Without O_NONBLOCK this would wait for ever where there is no reader; so let there be one.
    const reader = openSync(this.path, constants.O_RDONLY | constants.O_NONBLOCK)
    const fd = openSync(this.path, constants.O_WRONLY | mode)
    closeSync(reader)
    return fd
  }

  close(fd: number): void {
    this.#readers.delete(fd)
    closeSync(fd)
  }

  /** Writes until there is no room at all; how much that was. */
  fill(): number {
    const fd = this.writer()
    let filled = 0
    try {
      // By single bytes at the end: what is left of a page has room for small writes only.
      for (const size of [4096, 1]) {
        const bytes = Buffer.alloc(size, '.')
        try {
          for (;;) filled += writeSync(fd, bytes)
        } catch (error) {
          if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
        }
      }
    } finally {
      this.close(fd)
    }
    return filled
  }

  /** What is in the pipe now, by one read. */
  static read(reader: number, size = 1 << 20): string {
    const bytes = Buffer.alloc(size)
    try {
      return bytes.toString('latin1', 0, readSync(reader, bytes))
    } catch (error) {
      // No bytes, but a writer: nothing yet.
      if (error instanceof Error && 'code' in error && error.code === 'EAGAIN') return ''
      throw error
    }
  }

  /** Reads until `enough`. */
  static async readUntil(reader: number, enough: (text: string) => boolean, what: string): Promise<string> {
    let text = ''
    await until(() => {
      text += Fifo.read(reader)
      return enough(text)
    }, what)
    return text
  }
}

/** Another process that reads the pipe, after a nap. */
export class PipeReader {
  readonly #child: ChildProcess
  readonly #closed: Promise<unknown>
  #text = ''

  private constructor(child: ChildProcess) {
    this.#child = child
    this.#closed = once(child, 'close')
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      this.#text += text
    })
    onTestFinished(() => {
      child.kill('SIGKILL')
    })
  }

  /** Settles when the process has the pipe open. Somebody must have it open for writing, or there is nothing to open. */
  static async start(fifo: Fifo, napSeconds = 0): Promise<PipeReader> {
    const script = 'exec < "$1" && echo open >&2 && sleep "$2" && exec cat'
    const child = spawn('sh', ['-c', script, 'sh', fifo.path, String(napSeconds)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    const reader = new PipeReader(child)
    await within(once(child.stderr, 'data'), 'a process to open the pipe')
    return reader
  }

  get text(): string {
    return this.#text
  }

  /** What it read until the end. */
  async end(): Promise<string> {
    await within(this.#closed, 'the reader to see the end')
    return this.#text
  }

  async kill(): Promise<void> {
    this.#child.kill('SIGKILL')
    await within(this.#closed, 'the reader to die')
  }
}
