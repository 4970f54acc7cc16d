/**
 * Notices when files change, however that is done: written in place, replaced by a rename, or swapped by a link anywhere
 * on the way, as Kubernetes does with a ConfigMap. So folders are watched, and contents compared.
 */
import { createHash } from 'node:crypto'
import { readFileSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname } from 'node:path'
import { placesOf } from './places-of.ts'

export interface WatchOptions {
  /** The files; asked again after each change. */
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
  #contents: string
  #names: ReadonlySet<string> = new Set()
  #timer: NodeJS.Timeout | undefined
  #troubled = false

  constructor(options: WatchOptions) {
    this.#options = options
    this.#watch()
    this.#contents = digest(options.paths())
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const watcher of this.#watchers.values()) watcher.close()
    this.#watchers.clear()
  }

  /** Watches the folders that matter now, and no others. */
  #watch(): void {
    const paths = this.#options.paths()
    this.#names = new Set(paths.flatMap(placesOf).map((place) => basename(place)))
    const folders = new Set(paths.flatMap(placesOf).map((place) => dirname(place)))
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
      this.#watch()
      const contents = digest(this.#options.paths())
      if (contents === this.#contents) return
      this.#contents = contents
      this.#options.onChange()
    }, SETTLE_MS)
    this.#timer.unref()
  }
}

function digest(paths: readonly string[]): string {
  const hash = createHash('sha256')
  for (const path of paths) {
    try {
      hash.update(readFileSync(path))
    } catch (error) {
      hash.update(error instanceof Error ? error.message : String(error))
    }
    hash.update('\0')
  }
  return hash.digest('hex')
}
