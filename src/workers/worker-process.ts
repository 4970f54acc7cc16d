/** One worker as the supervisor sees it: a process, its lines, and what it said last. */
import type { ChildProcess } from 'node:child_process'
import type { Readable } from 'node:stream'
import type { Ledger } from '../audit/ledger.ts'
import type { AdmitElements } from '../firewall/admission.ts'
import type { Totals } from '../audit/scribe.ts'
import {
  LINES_FD,
  type Answer,
  type FromWorker,
  type Question,
  type RevokedTunnels,
  type Setup,
  type ToWorker,
  type WorkerTotals,
} from './protocol.ts'
import { Questions } from './questions.ts'
import { LineSplitter } from './split-lines.ts'
import { Tally } from './tally.ts'

export type Ready = Extract<FromWorker, { kind: 'ready' }>

type Reloaded = Extract<FromWorker, { kind: 'reloaded' }>

/**
 * How long a worker may take over a reload. It takes milliseconds, in the thread that carries the tunnels: one that is not
 * done by now carries nothing either, and until it has gone there are two policies in force.
 */
const RELOAD_TIMEOUT_MS = 5000

export interface Ending {
  /** The signal's name or the exit code. */
  readonly how: string
  /** Why it was killed, where that was our doing. */
  readonly why?: string
  /** A line was cut in the middle: a record is lost. */
  readonly recordCut: boolean
  /** Opening lines of the tunnels that ended with the process. */
  readonly cut: readonly string[]
}

export interface WorkerProcessOptions {
  /** Starts the process with an IPC channel, and a pipe at {@link LINES_FD}. */
  readonly spawn: () => ChildProcess
  readonly ledger: Pick<Ledger, 'append' | 'written' | 'accepting'>
  /** Whether the worker waits for word of what is written. */
  readonly acknowledge: boolean
  /** Absent where the gate keeps no packet filter. */
  readonly admit?: AdmitElements | undefined
  /** A sink fails, and the worker has been told to open nothing. */
  readonly onRefusing: () => void
  /** Default: 5 seconds. */
  readonly reloadTimeoutMs?: number | undefined
}

export class WorkerProcess {
  /** Settles when it listens; rejects when it cannot, or ends before. */
  readonly ready: Promise<Ready>
  /** Settles when the process is gone and its last line is in the ledger. */
  readonly ended: Promise<Ending>
  readonly #options: WorkerProcessOptions
  readonly #child: ChildProcess
  readonly #tally = new Tally()
  readonly #splitter = new LineSplitter()
  readonly #questions = new Questions((id, question) => this.#tell({ kind: 'ask', id, question }))
  #lines = 0
  #listens = false
  #stopped: WorkerTotals | undefined
  #killedFor: string | undefined
  #onReloaded: (answer: Reloaded) => void = () => undefined

  constructor(setup: Setup, options: WorkerProcessOptions) {
    this.#options = options
    const child = options.spawn()
    this.#child = child
    const lines = child.stdio[LINES_FD]
    if (!lines || !('read' in lines)) throw new TypeError('a worker needs a pipe for its lines')
    this.#takeLines(lines)
    this.ended = new Promise((resolve) => {
      // `close` comes when the process is gone and its pipes are read to the end.
      child.once('close', (code, signal) => {
        resolve({
          how: signal ?? `exit code ${code ?? 'unknown'}`,
          ...(this.#killedFor !== undefined && { why: this.#killedFor }),
          recordCut: this.#splitter.partial,
          cut: this.#tally.takeOpen(),
        })
      })
      child.once('error', (error) => {
        // It never ran; there will be no `close`.
        if (child.pid === undefined) resolve({ how: error.message, recordCut: false, cut: [] })
      })
    })
    this.ready = new Promise((resolve, reject) => {
      child.on('message', (message: FromWorker) => {
        if (message.kind === 'ready') {
          this.#listens = true
          resolve(message)
        } else if (message.kind === 'stopped') this.#stopped = message.totals
        else if (message.kind === 'reloaded') this.#onReloaded(message)
        else if (message.kind === 'admit') void this.#admit(message)
        else if (message.kind === 'answer') this.#questions.settle(message.id, message.answer)
        else
          reject(
            Object.assign(new Error(message.message), message.code !== undefined && { code: message.code }),
          )
      })
      void this.ended.then(({ how }) => reject(new Error(`it ended before it listened: ${how}`)))
    })
    void this.ended.then(() => this.#questions.abandon())
    // Who does not wait for it must not be killed by it.
    this.ready.catch(() => undefined)
    this.#tell({ kind: 'setup', setup })
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** What it counted: its own word when it stopped in order, what its records add up to when it did not. */
  get totals(): WorkerTotals {
    const recorded: Totals = this.#tally.totals
    return this.#stopped ?? { ...recorded, dropped: 0 }
  }

  /** Whether it listens, as far as is known. */
  get serving(): boolean {
    return this.#listens && this.#child.connected && this.#stopped === undefined
  }

  /** Whether it has said that it stopped, in order. */
  get stopped(): boolean {
    return this.#stopped !== undefined
  }

  /**
   * Puts another configuration in force; answers with the tunnels that it would refuse, none where the process ends
   * meanwhile. One that takes too long is killed. Rejects when the worker could not, and goes on as it was.
   */
  async reload(setup: Setup): Promise<RevokedTunnels> {
    const answered = new Promise<Reloaded>((resolve) => {
      this.#onReloaded = resolve
    })
    const { reloadTimeoutMs = RELOAD_TIMEOUT_MS } = this.#options
    const late = setTimeout(() => {
      this.#killedFor = `it had not taken the new configuration within ${reloadTimeoutMs / 1000} s`
      this.kill()
    }, reloadTimeoutMs)
    try {
      // One that is being started takes it when it listens; one that cannot start has nothing to change.
      await this.ready.catch(() => undefined)
      this.#tell({ kind: 'reload', setup })
      const answer = await Promise.race([answered, this.ended])
      if (!('kind' in answer)) return { count: 0, listed: [] }
      if (answer.problem !== undefined) throw new Error(answer.problem)
      return answer.revoked
    } finally {
      clearTimeout(late)
    }
  }

  /** Nothing when it does not answer in time. */
  ask(question: Question): Promise<Answer | undefined> {
    return this.serving ? this.#questions.ask(question) : Promise.resolve(undefined)
  }

  /** Once: drain. Again: at once. */
  stop(): void {
    this.#tell({ kind: 'stop' })
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  /** Tells it whether the sinks work, with whatever is written. */
  report(lines: number, ok: boolean): void {
    const { accepting } = this.#options.ledger
    this.#tell({ kind: 'written', lines, ok, accepting })
    if (!accepting) this.#options.onRefusing()
  }

  async #admit({ id, elements }: Extract<FromWorker, { kind: 'admit' }>): Promise<void> {
    const ok = (await this.#options.admit?.(elements)) ?? false
    this.#tell({ kind: 'admitted', id, ok })
  }

  #takeLines(stream: Readable): void {
    const { ledger, acknowledge } = this.#options
    stream.on('error', () => undefined)
    stream.on('data', (chunk: Buffer) => {
      for (const line of this.#splitter.push(chunk)) {
        this.#lines += 1
        ledger.append(line, this.#tally.note(line))
      }
      if (!acknowledge) return
      const lines = this.#lines
      void Promise.resolve(ledger.written()).then((ok) => this.report(lines, ok))
    })
  }

  #tell(message: ToWorker): void {
    if (!this.#child.connected) return
    // It may end this very moment; `ended` tells.
    this.#child.send(message, () => undefined)
  }
}
