/** A gate that runs: in this process, or spread over workers. `serve` does not care which. */
import type { WorkerTotals } from '../workers/protocol.ts'
import type { Endpoint, Wire } from '../wire/types.ts'

export interface RunningGate {
  /** Where it listens. */
  readonly endpoints: readonly Endpoint[]
  readonly wire: Wire['name']
  /** Why the kernel wire was wanted and is not used. */
  readonly fallback?: string
  /** Processes that carry tunnels. */
  readonly workers: number
  /** Lets open tunnels end within `limits.drainTimeout`; calling again closes at once. */
  stop(): Promise<void>
  /** Over all processes; complete once it has stopped. */
  totals(): WorkerTotals
}
