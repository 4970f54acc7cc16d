/**
 * A file that is appended to, and that makes place for a new one when it has grown too large or too old. The chain goes
 * on across files: the first record of each names the hash of the last line in the one before.
 */
import { close, constants, fdatasync, fstat, open } from 'node:fs'
import { readdir, rename, rm, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { Clock } from '../clock.ts'
import type { OpenedFile } from './file-tail.ts'
import { formerFiles, nameFormer } from './former-files.ts'
import { hashLine } from './hash-line.ts'
import type { Outlet, Sent } from './queued-sink.ts'
import { FdOutlet } from './sinks.ts'

export interface FileOutletOptions {
  readonly path: string
  /** Bytes that a file holds at most; a single longer record has a file of its own. Default: no bound. */
  readonly maxSizeBytes?: number | undefined
  /** How long after its first record a file is written to. Default: no bound. */
  readonly maxAgeMs?: number | undefined
  /** How many former files are kept; older ones are deleted. Default: all. */
  readonly keep?: number | undefined
  /** How long written lines may be in the system's memory only; 0: none counts as written before it is on the disk. */
  readonly fsyncMs: number
  readonly clock: Clock
  /** A new file was begun. */
  readonly onRotated: (rotation: Rotation) => void
  /** A new file cannot be begun: the old one grows on, and it is tried again in a minute. */
  readonly onRotationFailed: (why: string) => void
}

export interface Rotation {
  /** The former file's name, in the same folder. */
  readonly former: string
  /** Hash of its last line. */
  readonly head: string
  /** Names of the files that were deleted because there were more than `keep`. */
  readonly removed: readonly string[]
}

const FLAGS = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT
const ROTATION_RETRY_MS = 60_000
const openFd = promisify(open)
const closeFd = promisify(close)
const statFd = promisify(fstat)
const syncFd = promisify(fdatasync)

export class FileOutlet implements Outlet {
  readonly #options: FileOutletOptions
  #fd: number
  #outlet: FdOutlet
  #size: number
  #bornMs: number
  /** The last whole line of the file, or at the start its hash. */
  #last: string | undefined
  #head: string | undefined
  /** The file's name leads elsewhere by now. */
  #moved = false
  #rotateFromMs = 0
  #cancelSync: (() => void) | undefined
  /** Settles when no sync is under way. Until then the descriptor stays open. */
  #synced: Promise<void> = Promise.resolve()
  #syncFailure: string | undefined

  constructor(options: FileOutletOptions, { fd, size, bornMs, head }: OpenedFile) {
    this.#options = options
    this.#fd = fd
    this.#outlet = new FdOutlet(fd)
    this.#size = size
    this.#bornMs = bornMs ?? options.clock.wallMs()
    this.#head = head
  }

  send(lines: readonly string[], done: (sent: Sent) => void): void {
    // What has begun in a file ends in it.
    if (this.#outlet.midway || !this.#wantsNewFile(lines[0] ?? '')) this.#write(lines, done)
    else void this.#writeToNewFile(lines, done)
  }

  async close(): Promise<boolean> {
    this.#cancelSync?.()
    await this.#sync()
    await closeFd(this.#fd)
    return this.#syncFailure === undefined
  }

  async #writeToNewFile(lines: readonly string[], done: (sent: Sent) => void): Promise<void> {
    const failure = await (this.#moved ? this.#reopen() : this.#rotate())
    if (failure === undefined) this.#write(lines, done)
    else done({ delivered: 0, failure })
  }

  #write(lines: readonly string[], done: (sent: Sent) => void): void {
    const part = this.#outlet.midway ? lines : this.#fitting(lines)
    this.#outlet.send(part, (sent) => {
      this.#last = lines[sent.delivered - 1] ?? this.#last
      if (this.#options.fsyncMs === 0 && sent.failure === undefined) void this.#confirm(sent, done)
      else {
        this.#syncLater()
        done({ ...this.#takeSyncFailure(), ...sent })
      }
    })
  }

  /** Written counts when it is on the disk. */
  async #confirm(sent: Sent, done: (sent: Sent) => void): Promise<void> {
    await this.#sync()
    done({ ...sent, ...this.#takeSyncFailure() })
  }

  /** As many lines as the file has room for, and one at least. */
  #fitting(lines: readonly string[]): readonly string[] {
    const { maxSizeBytes = Number.POSITIVE_INFINITY } = this.#options
    let count = 0
    for (const line of lines) {
      const bytes = Buffer.byteLength(line)
      if (count > 0 && this.#size + bytes > maxSizeBytes) break
      this.#size += bytes
      count += 1
    }
    return count === lines.length ? lines : lines.slice(0, count)
  }

  #wantsNewFile(next: string): boolean {
    if (this.#moved) return true
    const { maxSizeBytes, maxAgeMs, clock } = this.#options
    const nowMs = clock.wallMs()
    if (this.#size === 0 || nowMs < this.#rotateFromMs) return false
    return (
      (maxSizeBytes !== undefined && this.#size + Buffer.byteLength(next) > maxSizeBytes) ||
      (maxAgeMs !== undefined && nowMs - this.#bornMs >= maxAgeMs)
    )
  }

  /** Never fails for good: where no new file can be had, the old one is still there. */
  async #rotate(): Promise<undefined> {
    const { path, keep, clock, onRotated, onRotationFailed } = this.#options
    try {
      await this.#sync()
      if (!(await this.#hasItsName())) {
        // Somebody else has just rotated it: that is rotation enough.
        await this.#begin()
        return
      }
      const folder = dirname(path)
      const earlier = formerFiles(path, await readdir(folder))
      const former = nameFormer(path, earlier, clock.wallMs())
      const head = this.#last === undefined ? (this.#head ?? '') : hashLine(this.#last)
      await rename(path, join(folder, former))
      await this.#begin()
      const removed = keep === undefined ? [] : [...earlier, former].slice(0, -keep)
      for (const name of removed) await rm(join(folder, name), { force: true })
      await syncFolder(folder)
      onRotated({ former, head, removed })
    } catch (error) {
      this.#rotateFromMs = clock.wallMs() + ROTATION_RETRY_MS
      onRotationFailed(codeOf(error))
    }
  }

  /** Somebody has moved or deleted the file, such as logrotate: goes on in a new one of that name. */
  async #reopen(): Promise<string | undefined> {
    try {
      await this.#begin()
      return undefined
    } catch (error) {
      return codeOf(error)
    }
  }

  async #begin(): Promise<void> {
    const fd = await openFd(this.#options.path, FLAGS, 0o640)
    const { size } = await statFd(fd)
    await this.#synced
    await closeFd(this.#fd)
    this.#fd = fd
    this.#outlet = new FdOutlet(fd)
    this.#size = size
    this.#bornMs = this.#options.clock.wallMs()
    this.#moved = false
  }

  #syncLater(): void {
    this.#cancelSync ??= this.#options.clock.setTimer(() => {
      this.#cancelSync = undefined
      void this.#sync().then(() => this.#lookAtName())
    }, this.#options.fsyncMs)
  }

  #sync(): Promise<void> {
    this.#synced = this.#synced
      .then(() => syncFd(this.#fd))
      .catch((error: unknown) => {
        this.#syncFailure = codeOf(error)
      })
    return this.#synced
  }

  /** Said once, with the next lines: the system has given up what it had not written. */
  #takeSyncFailure(): { readonly failure?: string } {
    const failure = this.#syncFailure
    this.#syncFailure = undefined
    return failure === undefined ? {} : { failure }
  }

  async #lookAtName(): Promise<void> {
    const fd = this.#fd
    const moved = !(await this.#hasItsName())
    // A rotation in between has begun a file of that name.
    if (moved && fd === this.#fd) this.#moved = true
  }

  async #hasItsName(): Promise<boolean> {
    const [named, own] = await Promise.all([
      stat(this.#options.path).catch(() => undefined),
      statFd(this.#fd).catch(() => undefined),
    ])
    return own === undefined || (named?.ino === own.ino && named.dev === own.dev)
  }
}

/** The new names are on the disk, too. */
async function syncFolder(folder: string): Promise<void> {
  const fd = await openFd(folder, constants.O_RDONLY)
  try {
    await syncFd(fd)
  } finally {
    await closeFd(fd)
  }
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  return 'code' in error ? String(error.code) : error.message
}
