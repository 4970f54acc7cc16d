/** Runs the gate in this process: `workers: 1`. */
import { createLocalView, viewProcess } from '../admin/local-view.ts'
import type { Journal } from '../audit/journal.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { listRevoked } from '../workers/revoked-tunnels.ts'
import type { AdmitElements } from '../firewall/admission.ts'
import { chooseWire } from '../wire/choose.ts'
import { assembleParts } from './assemble.ts'
import type { RunningGate } from './running-gate.ts'
import type { Reporter } from './reporter.ts'

/** Rejects as `Gate.start` does when it cannot listen. */
export async function runHere(
  config: Config,
  journal: Journal,
  { onBug, onAcceptPaused }: Reporter,
  admit: AdmitElements | undefined,
): Promise<RunningGate> {
  const { wire, fallback } = await chooseWire({ wire: config.wire, onBug, onAcceptPaused })
  const parts = assembleParts(config, journal, { wire, admit, onBug })
  const { gate } = parts
  await gate.start()
  return {
    endpoints: gate.endpoints,
    wire: wire.name,
    ...(fallback !== undefined && { fallback }),
    workers: 1,
    // Inside a promise, so that a failure is a rejection.
    reload: async (next) => listRevoked(parts.reload(next.config)),
    view: createLocalView(viewProcess(parts, systemClock)),
    async stop() {
      await gate.stop()
      journal.flushFolds()
    },
    totals: () => ({ ...journal.totals, dropped: parts.dropped }),
  }
}
