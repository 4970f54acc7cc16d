/** A gate that runs: in this process, or spread over workers. `serve` does not care which. */
import type { Config } from '../config/load.ts'
import type { RevokedTunnels, WorkerTotals } from '../workers/protocol.ts'
import type { GateView } from '../admin/view.ts'
import type { Endpoint, Wire } from '../wire/types.ts'

/** A configuration, and the text that it was read from. */
export interface Reading {
  readonly config: Config
  readonly text: string
}

export interface RunningGate {
  /** Where it listens. */
  readonly endpoints: readonly Endpoint[]
  readonly wire: Wire['name']
  /** Why the kernel wire was wanted and is not used. */
  readonly fallback?: string
  /** Processes that carry tunnels. */
  readonly workers: number
  /**
   * Puts another configuration in force, in all processes; answers with the open tunnels that it would refuse. Rejects
   * when a file that the configuration names cannot be read, and then goes on as it was.
   */
  reload(next: Reading): Promise<RevokedTunnels>
  /** What the admin side asks. */
  readonly view: GateView
  /** Lets open tunnels end within `limits.drainTimeout`; calling again closes at once. */
  stop(): Promise<void>
  /** Over all processes; complete once it has stopped. */
  totals(): WorkerTotals
}
