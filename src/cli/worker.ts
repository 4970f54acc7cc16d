/** One worker of `serve` with `workers: N`: a gate that listens beside its brothers and sends its records up a pipe. */
import { viewProcess } from '../admin/local-view.ts'
import type { ProcessView } from '../admin/view.ts'
import { FdSink } from '../audit/sinks.ts'
import { Journal } from '../audit/journal.ts'
import { loadConfig, type Config } from '../config/load.ts'
import { readBundledPresets } from '../presets/bundled.ts'
import { chooseWire } from '../wire/choose.ts'
import { listRevoked } from '../workers/revoked-tunnels.ts'
import { RemoteFilter } from '../workers/remote-filter.ts'
import { systemClock } from '../clock.ts'
import {
  LINES_FD,
  type Answer,
  type FromWorker,
  type Question,
  type Setup,
  type ToWorker,
} from '../workers/protocol.ts'
import { RemoteLedger } from '../workers/remote-ledger.ts'
import { assembleParts, scribeOptions } from './assemble.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { createReporter } from './reporter.ts'

/** How long the last lines may take to reach the supervisor. */
const FLUSH_TIMEOUT_MS = 3000

export async function worker(io: Io): Promise<ExitCode> {
  const channel = process
  if (!channel.send) {
    io.stderr.write('sallyport: `worker` is started by `serve` with `workers: N`, not by hand\n')
    return EXIT.usage
  }
  const tell = (message: FromWorker): void => void channel.send?.(message, () => undefined)
  // The supervisor has the signals; one from a terminal reaches every process, and would be obeyed twice.
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => undefined)

  const orders = new Orders()
  channel.on('message', (message: ToWorker) => orders.onMessage(message))
  channel.once('disconnect', () => orders.onSevered())

  const setup = await orders.setup
  if (!setup) return EXIT.finding
  const config = readSetup(setup)

  const { onBug, onAcceptPaused } = createReporter(io.stderr, `sallyport[${process.pid}]`)
  const pipe = new FdSink({ name: 'the supervisor', fd: LINES_FD })
  const ledger = new RemoteLedger({ pipe, onError: config.audit.onError })
  orders.onWritten = (lines, ok, accepting) => ledger.acknowledge(lines, ok, accepting)
  const filter = new RemoteFilter(tell)
  orders.onAdmitted = (id, ok) => filter.settle(id, ok)
  const journal = new Journal(scribeOptions(config), ledger)
  const { wire, fallback } = await chooseWire({ wire: config.wire, reusePort: true, onBug, onAcceptPaused })
  const parts = assembleParts(config, journal, { wire, reusePort: true, admit: filter.admit, onBug })
  const { gate } = parts
  orders.onReload = (next) => {
    try {
      tell({ kind: 'reloaded', revoked: listRevoked(parts.reload(readSetup(next))) })
    } catch (error) {
      const problem = error instanceof Error ? error.message : String(error)
      tell({ kind: 'reloaded', revoked: listRevoked([]), problem })
    }
  }
  const view = viewProcess(parts, systemClock)
  orders.onAsk = (id, question) => tell({ kind: 'answer', id, answer: answerTo(question, view) })
  try {
    await gate.start()
  } catch (error) {
    tell({
      kind: 'failed',
      message: error instanceof Error ? error.message : String(error),
      ...(error instanceof Error && 'code' in error && { code: String(error.code) }),
    })
    return EXIT.finding
  }
  tell({
    kind: 'ready',
    endpoints: gate.endpoints,
    wire: wire.name,
    ...(fallback !== undefined && { fallback }),
  })

  const ending = await orders.stop
  orders.onAgain = () => void gate.stop()
  if (ending === 'severed') {
    // Nobody writes down what happens here any more, so nothing may happen.
    ledger.sever()
    filter.sever()
    void gate.stop()
  }
  await gate.stop()
  journal.flushFolds()
  const flushed = await pipe.flush(FLUSH_TIMEOUT_MS)
  tell({ kind: 'stopped', totals: { ...journal.totals, dropped: parts.dropped } })
  return flushed ? EXIT.ok : EXIT.finding
}

function readSetup({ text, name, overrides, nowMs, listen }: Setup): Config {
  const result = loadConfig({ text, name, overrides, nowMs, presets: readBundledPresets() })
  // The supervisor has read the same text without an issue.
  if (!result.ok) throw new Error('a worker got a configuration that is invalid')
  // The supervisor has claimed the ports; everything else of a listener is as in the text.
  const claimed = result.config.listen.map((address, index) => ({ ...address, ...listen[index] }))
  return { ...result.config, listen: claimed }
}

function answerTo(question: Question, view: ProcessView): Answer {
  switch (question.what) {
    case 'figures':
      return { figures: view.figures() }
    case 'tunnels':
      return { tunnels: view.tunnels(question.limit) }
    case 'dns':
      return { dns: view.dns() }
  }
}

/** What the supervisor says, in the order a worker can use it. */
class Orders {
  readonly setup: Promise<Setup | undefined>
  /** Settles with the first order to stop. */
  readonly stop: Promise<'stop' | 'severed'>
  onWritten: (lines: number, ok: boolean, accepting: boolean) => void = () => undefined
  onReload: (setup: Setup) => void = () => undefined
  onAdmitted: (id: number, ok: boolean) => void = () => undefined
  onAsk: (id: number, question: Question) => void = () => undefined
  /** Stop at once: said a second time. */
  onAgain: () => void = () => undefined
  #stopping = false
  #setUp: (setup: Setup | undefined) => void = () => undefined
  #end: (how: 'stop' | 'severed') => void = () => undefined

  constructor() {
    this.setup = new Promise((resolve) => {
      this.#setUp = resolve
    })
    this.stop = new Promise((resolve) => {
      this.#end = resolve
    })
  }

  onMessage(message: ToWorker): void {
    switch (message.kind) {
      case 'setup':
        this.#setUp(message.setup)
        return
      case 'reload':
        this.onReload(message.setup)
        return
      case 'written':
        this.onWritten(message.lines, message.ok, message.accepting)
        return
      case 'admitted':
        this.onAdmitted(message.id, message.ok)
        return
      case 'ask':
        this.onAsk(message.id, message.question)
        return
      case 'stop':
        if (this.#stopping) this.onAgain()
        this.#stopping = true
        this.#end('stop')
    }
  }

  onSevered(): void {
    this.#setUp(undefined)
    if (this.#stopping) this.onAgain()
    this.#end('severed')
  }
}
