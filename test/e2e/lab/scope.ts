import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** One temporary folder, and everything that must be undone before it goes, last in first out. */
export class Scope {
  #folder: string | undefined
  #undo: (() => unknown)[] = []

  /** Made at the first use, so that a suite that is skipped leaves nothing behind. */
  get folder(): string {
    return (this.#folder ??= mkdtempSync(join(tmpdir(), 'sallyport-e2e-')))
  }

  path(...names: string[]): string {
    return join(this.folder, ...names)
  }

  onClose(undo: () => unknown): void {
    this.#undo.push(undo)
  }

  /** Undoes everything even when one step fails, and then says what failed. */
  async close(): Promise<void> {
    const failures: unknown[] = []
    for (const undo of this.#undo.splice(0).toReversed()) {
      try {
        await undo()
      } catch (error) {
        failures.push(error)
      }
    }
    if (this.#folder !== undefined) rmSync(this.#folder, { recursive: true, force: true, maxRetries: 5 })
    if (failures.length > 0) throw new AggregateError(failures, `teardown of ${this.#folder} failed`)
  }
}
