/** Everything that the admin listener works with. */
import type { Clock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import type { Endpoint } from '../wire/types.ts'
import type { Trail } from './trail.ts'
import type { GateView } from './view.ts'

/** What came of an attempt to reload: with what has changed, or with what is wrong. */
export type ReloadReport = { readonly ok: true } | { readonly ok: false; readonly issues: readonly string[] }

export interface AdminServices {
  readonly view: GateView
  /** In force now. */
  readonly config: () => Config
  readonly configFile: string
  readonly trail: Trail
  /** Whether records can be written, and how many never were. */
  readonly ledger: { readonly accepting: boolean; readonly lost: number }
  readonly clock: Clock
  readonly version: string
  readonly startedMs: number
  readonly gate: {
    readonly endpoints: readonly Endpoint[]
    readonly wire: string
    readonly fallback?: string
    readonly workers: number
  }
  readonly draining: () => boolean
  /** When the configuration in force was read, and what was wrong with a later one. */
  readonly reloaded: () => {
    readonly readMs: number
    readonly failure: { readonly issues: readonly string[] } | undefined
  }
  /** Never rejects. */
  readonly reload: () => Promise<ReloadReport>
  /** What the gate would say to a client; a client that cannot be told from the text is an `error`. */
  readonly explain: (target: string, client: string | undefined) => Readonly<Record<string, unknown>>
  /** What requests have to bring; absent: those that change nothing bring nothing. */
  readonly token: string | undefined
  /** Names under which it is reached, besides `localhost` and addresses. */
  readonly hosts: readonly string[]
}
