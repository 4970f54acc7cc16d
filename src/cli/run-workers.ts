/** Runs the gate over several processes: `workers: N`. This one keeps the ledger and starts the others. */
import { fork, type ChildProcess } from 'node:child_process'
import { createServer } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Journal } from '../audit/journal.ts'
import { systemClock } from '../clock.ts'
import type { Config, ConfigOverrides } from '../config/load.ts'
import type { ListenAddress } from '../config/units.ts'
import type { AdmitElements } from '../firewall/admission.ts'
import { Meter } from '../metrics/meter.ts'
import { LINES_FD } from '../workers/protocol.ts'
import { Supervisor } from '../workers/supervisor.ts'
import { createWorkersView } from '../workers/workers-view.ts'
import type { Reporter } from './reporter.ts'
import type { Reading, RunningGate } from './running-gate.ts'

const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url))
/** Beyond `limits.drainTimeout`, for closing what is left and for the last records. */
const STOP_GRACE_MS = 5000

export interface WorkersOptions {
  readonly workers: number
  readonly admit: AdmitElements | undefined
  /** What the configuration was read from: workers read the same text, whatever the file says by then. */
  readonly source: { readonly text: string; readonly name: string; readonly overrides: ConfigOverrides }
}

/** Rejects as `Gate.start` does when the workers cannot listen. */
export async function runWorkers(
  config: Config,
  journal: Journal,
  { say }: Reporter,
  { workers, admit, source }: WorkersOptions,
): Promise<RunningGate> {
  let current: Reading = { config, text: source.text }
  const listen: ListenAddress[] = []
  for (const address of config.listen) listen.push(await claim(address))
  const meter = new Meter(systemClock)
  const supervisor = new Supervisor({
    workers,
    spawn: () => spawn(listen),
    setup: () => ({ ...source, text: current.text, nowMs: Date.now(), listen: listen.map(passedOn) }),
    ledger: journal.ledger,
    acknowledge: config.audit.onError === 'deny',
    audit: meter.metered(journal),
    state: () => ({ policyHash: current.config.policy.hash, mode: current.config.policy.mode }),
    admit,
    clock: systemClock,
    stopTimeoutMs: () => {
      const { drainDelayMs, drainTimeoutMs } = current.config.limits
      return drainDelayMs + drainTimeoutMs + STOP_GRACE_MS
    },
    say,
  })
  const endpoints = await supervisor.start()
  // While every worker is dead and none is replaced yet, nothing else would keep this process.
  const alive = setInterval(() => undefined, 60_000)
  return {
    endpoints,
    wire: supervisor.wire,
    ...(supervisor.fallback !== undefined && { fallback: supervisor.fallback }),
    workers,
    async reload(next) {
      const before = current
      current = next
      try {
        return await supervisor.reload()
      } catch (error) {
        // Some workers may have what others could not read: all go back to what they had.
        current = before
        await supervisor.reload()
        throw error
      }
    },
    // This process carries no tunnels, and counts those that a crash has cut.
    view: createWorkersView(supervisor, () =>
      meter.figures({ connections: 0, dropped: 0, dnsEntries: 0, tunnels: [] }),
    ),
    async stop() {
      await supervisor.stop()
      clearInterval(alive)
    },
    totals() {
      // What the supervisor has recorded itself: the ends of tunnels that a crash cut.
      const cut = journal.totals.closed
      const sum = supervisor.totals
      return { ...sum, closed: sum.closed + cut }
    },
  }
}

/** @param listen sockets that this process was given are passed on, each as the descriptor that {@link passedOn} says */
function spawn(listen: readonly ListenAddress[]): ChildProcess {
  const stdio: ('ignore' | 'inherit' | 'ipc' | 'pipe' | number)[] = ['ignore', 'ignore', 'inherit', 'ipc']
  stdio[LINES_FD] = 'pipe'
  for (const [index, { fd }] of listen.entries()) stdio[LINES_FD + 1 + index] = fd ?? 'ignore'
  return fork(PROGRAM, ['worker'], { stdio })
}

/** The address as a worker has it. */
function passedOn(address: ListenAddress, index: number): ListenAddress {
  return address.fd === undefined ? address : { ...address, fd: LINES_FD + 1 + index }
}

/**
 * Finds out whether the address is free, and which port 0 stands for. With SO_REUSEPORT, another program of the same user
 * that listens there would go unnoticed and take some of the connections.
 */
function claim(address: ListenAddress): Promise<ListenAddress> {
  if (address.fd !== undefined) return Promise.resolve(address)
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', (error) => reject(Object.assign(error, { listen: address })))
    server.listen({ host: address.host, port: address.port, exclusive: true }, () => {
      const bound = server.address()
      const port = bound !== null && typeof bound === 'object' ? bound.port : address.port
      server.close(() => resolve({ host: address.host, port }))
    })
  })
}
