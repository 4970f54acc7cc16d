/**
 * Notices when files change, however that is done: written in place, replaced by a rename, or swapped by a link anywhere
 * on the way, as Kubernetes does with a ConfigMap. So folders are watched, and contents compared.
 */
import { createHash } from 'node:crypto'
import { readFileSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'
import { placesOf } from './places-of.ts'

export interface WatchOptions {
  /** The files; asked again after each change, and by {@link FilesWatcher.renew}. */
  readonly paths: () => readonly string[]
  readonly onChange: () => void
  /** Watching does not work, and why. Said once. */
  readonly onTrouble: (why: string) => void
}

/** An editor writes in several steps; what they leave behind is what counts. */
const SETTLE_MS = 200

export class FilesWatcher {
  readonly #options: WatchOptions
  readonly #watchers = new Map<string, FSWatcher>()
  /** What each file had in it when it was last looked at. */
  #contents: ReadonlyMap<string, string> = new Map()
  #names: ReadonlySet<string> = new Set()
  #timer: NodeJS.Timeout | undefined
  #troubled = false
  #closed = false

  constructor(options: WatchOptions) {
    this.#options = options
    this.renew()
  }

  /**
   * The files are others now. One that is new counts as it is at this moment, so call this before it is read; the others
   * as they were when a change was last looked for.
   */
  renew(): void {
    if (this.#closed) return
    const paths = this.#options.paths()
    this.#watch(paths)
    this.#contents = new Map(paths.map((path) => [path, this.#contents.get(path) ?? digest(path)]))
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  /** Watches the folders that matter now, and no others. */
  #watch(paths: readonly string[]): void {
    const places = paths.flatMap(placesOf)
    this.#names = new Set(places.map((place) => basename(place)))
    const folders = new Set(places.map((place) => dirname(place)))
    for (const [folder, watcher] of this.#watchers) {
      if (folders.has(folder)) continue
      watcher.close()
      this.#watchers.delete(folder)
    }
    for (const folder of folders) {
      if (this.#watchers.has(folder)) continue
      try {
        const watcher = watch(folder, { persistent: false }, (event, name) => {
          // Others write in the same folder, such as an audit trail; whatever comes and goes may be a link.
          if (event === 'rename' || name === null || this.#names.has(name)) this.#settle()
        })
        watcher.on('error', (error) => {
          this.#drop(folder, watcher)
          this.#tell(error)
        })
        this.#watchers.set(folder, watcher)
      } catch (error) {
        this.#tell(error)
      }
    }
  }

  #drop(folder: string, watcher: FSWatcher): void {
    watcher.close()
    if (this.#watchers.get(folder) === watcher) this.#watchers.delete(folder)
  }

  #tell(error: unknown): void {
    if (this.#troubled) return
    this.#troubled = true
    this.#options.onTrouble(error instanceof Error ? error.message : String(error))
  }

  #settle(): void {
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      // A folder that was replaced is another one under the same name.
      for (const [folder, watcher] of this.#watchers) this.#drop(folder, watcher)
      const paths = this.#options.paths()
      this.#watch(paths)
      const before = this.#contents
      this.#contents = new Map(paths.map((path) => [path, digest(path)]))
      if (paths.some((path) => this.#contents.get(path) !== before.get(path))) this.#options.onChange()
    }, SETTLE_MS)
    this.#timer.unref()
  }
}

function digest(path: string): string {
  try {
    return createHash('sha256').update(readFileSync(path)).digest('hex')
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
