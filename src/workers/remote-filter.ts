/** The packet filter as a worker sees it: kept by the supervisor, asked over the IPC channel. */
import type { AdmitElements } from '../firewall/admission.ts'
import type { FromWorker } from './protocol.ts'

export class RemoteFilter {
  readonly #tell: (message: FromWorker) => void
  readonly #waiting = new Map<number, (ok: boolean) => void>()
  #asked = 0
  #severed = false

  constructor(tell: (message: FromWorker) => void) {
    this.#tell = tell
  }

  readonly admit: AdmitElements = (elements) =>
    new Promise((resolve) => {
      if (this.#severed) {
        resolve(false)
        return
      }
      this.#asked += 1
      this.#waiting.set(this.#asked, resolve)
      this.#tell({ kind: 'admit', id: this.#asked, elements })
    })

  /** The supervisor's answer. */
  settle(id: number, ok: boolean): void {
    this.#waiting.get(id)?.(ok)
    this.#waiting.delete(id)
  }

  /** The supervisor is gone: nothing is let in any more. */
  sever(): void {
    this.#severed = true
    for (const id of this.#waiting.keys()) this.settle(id, false)
  }
}
