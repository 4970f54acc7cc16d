/** The token of the admin listener. Where it stands in a file, each reload reads it again, so that it can be rotated. */
import type { Config } from '../config/load.ts'
import { readAdminToken } from './client-files.ts'
import type { RunningGate } from './running-gate.ts'

export class AdminToken {
  readonly #started: Config
  #current: string | undefined

  /** Throws {@link ConfiguredFileError}. */
  constructor(started: Config) {
    this.#started = started
    this.#current = readAdminToken(started)
  }

  /** What the listener asks for; nothing where it asks for none. */
  get current(): string | undefined {
    return this.#current
  }

  /** A reload puts both in force, or none. */
  around(gate: Pick<RunningGate, 'reload'>): Pick<RunningGate, 'reload'> {
    return {
      reload: async (next) => {
        const renewed = this.#read(next.config)
        const revoked = await gate.reload(next)
        this.#current = renewed
        return revoked
      },
    }
  }

  /** Which file it is waits for a restart, as the address does: they were checked with each other. */
  #read({ admin }: Config): string | undefined {
    return admin.tokenFile === this.#started.admin.tokenFile ? readAdminToken(this.#started) : this.#current
  }
}
