/**
 * Several workers, one gate: each worker is a process with a reactor and a listener of its own on the same address
 * (SO_REUSEPORT: the kernel spreads the connections), and the supervisor keeps what there is one of: the policy's text,
 * the ledger, the signals. A worker that crashes is replaced; what it had open is recorded as closed.
 */
import type { ChildProcess } from 'node:child_process'
import type { Audit } from '../audit/journal.ts'
import type { Ledger } from '../audit/ledger.ts'
import type { AuditEvent } from '../audit/record.ts'
import type { AdmitElements } from '../firewall/admission.ts'
import type { Clock } from '../clock.ts'
import type { Endpoint, Wire } from '../wire/types.ts'
import type { Question, RevokedTunnels, Setup, WorkerTotals } from './protocol.ts'
import { sumRevoked } from './revoked-tunnels.ts'
import { WorkerProcess, type Ending } from './worker-process.ts'
import type { Asked } from './workers-view.ts'

export interface SupervisorOptions {
  readonly workers: number
  readonly spawn: (index: number) => ChildProcess
  readonly setup: () => Setup
  readonly ledger: Pick<Ledger, 'append' | 'written' | 'accepting'>
  /** `audit.onError` is `deny`: no tunnel carries anything before its opening is written. */
  readonly acknowledge: boolean
  readonly audit: Pick<Audit, 'record'>
  /** Lets addresses into the packet filter that workers are about to dial. */
  readonly admit?: AdmitElements | undefined
  /** What every record of the gate itself carries. */
  readonly state: () => Pick<Extract<AuditEvent, { kind: 'gate' }>, 'policyHash' | 'mode'>
  readonly clock: Clock
  /** Milliseconds that workers have to stop in before they are killed. */
  readonly stopTimeoutMs: () => number
  /** Milliseconds that a worker has for a reload before it is killed and replaced; default: 5 seconds. */
  readonly reloadTimeoutMs?: number
  readonly say: (text: string) => void
}

/** Before a worker that crashed is replaced; doubled each time up to the maximum, and forgotten after a good while. */
const FIRST_BACKOFF_MS = 100
const MAX_BACKOFF_MS = 10_000
const GOOD_WHILE_MS = 30_000
/** While the sinks fail, how often it is looked whether they work again, so that workers may open tunnels. */
const ACCEPTING_POLL_MS = 250

interface Place {
  readonly index: number
  worker: WorkerProcess
  startedMs: number
  backoffMs: number
}

export class Supervisor {
  /** Which wire the workers run on; the first one's, and they are all alike. */
  wire: Wire['name'] = 'portable'
  fallback: string | undefined
  readonly workers: number
  readonly #options: SupervisorOptions
  readonly #places: Place[] = []
  readonly #gone: WorkerTotals[] = []
  #stopping: Promise<void> | undefined
  #hurry = false
  #polling = false

  constructor(options: SupervisorOptions) {
    this.#options = options
    this.workers = options.workers
  }

  /** Processes that run tunnels now. */
  get pids(): readonly number[] {
    return this.#places.flatMap(({ worker }) => worker.pid ?? [])
  }

  /** How many of them listen. */
  get serving(): number {
    return this.#places.filter(({ worker }) => worker.serving).length
  }

  /** Asks every worker, in the order of their places. */
  ask(question: Question): Promise<readonly Asked[]> {
    return Promise.all(
      this.#places.map(async ({ worker }) => ({ pid: worker.pid, answer: await worker.ask(question) })),
    )
  }

  /** Rejects with the first worker's error when one cannot start; then none runs. */
  async start(): Promise<readonly Endpoint[]> {
    for (let index = 0; index < this.#options.workers; index += 1) {
      const worker = this.#spawn(index)
      this.#places.push({ index, worker, startedMs: this.#now(), backoffMs: FIRST_BACKOFF_MS })
    }
    try {
      const ready = await Promise.all(this.#places.map(({ worker }) => worker.ready))
      for (const place of this.#places) this.#watch(place)
      const [first] = ready
      if (!first) throw new RangeError('at least one worker')
      this.wire = first.wire
      this.fallback = first.fallback
      return first.endpoints
    } catch (error) {
      for (const { worker } of this.#places) worker.kill()
      await Promise.all(this.#places.map(({ worker }) => worker.ended))
      throw error
    }
  }

  /**
   * Has every worker put in force what `setup` says now; one that is being started reads it anyway. Answers with the
   * open tunnels that it would refuse. One that does not answer is replaced by one that starts with it. Rejects when a
   * worker could not, once all have answered: the next may follow.
   */
  async reload(): Promise<RevokedTunnels> {
    const setup = this.#options.setup()
    const reloads = this.#places.map(({ worker }) => worker.reload(setup))
    await Promise.allSettled(reloads)
    return sumRevoked(await Promise.all(reloads))
  }

  /** Lets every worker drain; calling again closes at once. */
  stop(): Promise<void> {
    if (this.#stopping && !this.#hurry) {
      this.#hurry = true
      for (const { worker } of this.#places) worker.stop()
    }
    this.#stopping ??= this.#stop()
    return this.#stopping
  }

  /** Summed over all workers that have ended; complete after {@link stop}. */
  get totals(): WorkerTotals {
    const sum = { opened: 0, forwarded: 0, denied: 0, failed: 0, closed: 0, dropped: 0 }
    for (const totals of this.#gone) {
      sum.opened += totals.opened
      sum.forwarded += totals.forwarded
      sum.denied += totals.denied
      sum.failed += totals.failed
      sum.closed += totals.closed
      sum.dropped += totals.dropped
    }
    return sum
  }

  #spawn(index: number): WorkerProcess {
    const { spawn, setup, ledger, acknowledge, admit, reloadTimeoutMs } = this.#options
    return new WorkerProcess(setup(), {
      spawn: () => spawn(index),
      ledger,
      acknowledge,
      admit,
      onRefusing: () => this.#awaitAccepting(),
      reloadTimeoutMs,
    })
  }

  /** The sinks fail: workers open nothing. Looks until they work again, and says so to all. */
  #awaitAccepting(): void {
    if (this.#polling) return
    this.#polling = true
    this.#options.clock.setTimer(() => {
      this.#polling = false
      if (this.#options.ledger.accepting) for (const { worker } of this.#places) worker.report(0, true)
      else this.#awaitAccepting()
    }, ACCEPTING_POLL_MS)
  }

  #watch(place: Place): void {
    const { worker } = place
    void worker.ended.then((ending) => {
      this.#gone.push(worker.totals)
      const orderly = worker.stopped && ending.cut.length === 0
      if (!orderly) this.#recordLoss(place, ending)
      if (!this.#stopping) this.#replace(place)
    })
  }

  #recordLoss({ index, worker }: Place, { how, why, cut, recordCut }: Ending): void {
    const { audit, state, say } = this.#options
    for (const opened of cut) audit.record({ kind: 'lost', opened })
    const facts = {
      worker: index + 1,
      pid: worker.pid,
      ended: how,
      tunnels: cut.length,
      ...(recordCut && { lost: 1 }),
    }
    const ended = why === undefined ? how : `${how}, ${why}`
    const message = `worker ${index + 1} ended (${ended}) with ${cut.length} open tunnels`
    audit.record({ kind: 'gate', action: 'worker-lost', message, ...state(), facts })
    say(message)
  }

  #replace(place: Place): void {
    const { clock, audit, state, say } = this.#options
    if (this.#now() - place.startedMs > GOOD_WHILE_MS) place.backoffMs = FIRST_BACKOFF_MS
    const waitMs = place.backoffMs
    place.backoffMs = Math.min(waitMs * 2, MAX_BACKOFF_MS)
    clock.setTimer(() => {
      if (this.#stopping) return
      place.worker = this.#spawn(place.index)
      place.startedMs = this.#now()
      this.#watch(place)
      place.worker.ready.then(
        () => {
          const message = `worker ${place.index + 1} was replaced`
          const facts = { worker: place.index + 1, pid: place.worker.pid }
          audit.record({ kind: 'gate', action: 'worker-replaced', message, ...state(), facts })
          say(message)
        },
        (error: unknown) => {
          if (this.#stopping) return
          say(
            `worker ${place.index + 1} cannot start: ${error instanceof Error ? error.message : String(error)}`,
          )
          place.worker.kill()
        },
      )
    }, waitMs)
  }

  async #stop(): Promise<void> {
    const cancel = this.#options.clock.setTimer(() => {
      for (const { worker } of this.#places) worker.kill()
    }, this.#options.stopTimeoutMs())
    for (const { worker } of this.#places) worker.stop()
    await Promise.all(this.#places.map(({ worker }) => worker.ended))
    cancel()
  }

  #now(): number {
    return this.#options.clock.monotonicMs()
  }
}
