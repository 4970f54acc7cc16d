/** `sallyport serve`: starts the gate, says so, and stops it on a signal. */
import { openSync } from 'node:fs'
import { FdSink, type AuditSink } from '../audit/sinks.ts'
import { createTerminalSink } from '../audit/terminal.ts'
import type { Config } from '../config/load.ts'
import { formatListenAddress } from '../config/units.ts'
import type { Gate } from '../proxy/gate.ts'
import { assembleGate, type AssembledGate } from './assemble.ts'
import { formatBanner, formatEndpoint } from './banner.ts'
import { EXIT, wantsColor, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'
import { readVersion } from './version.ts'

export interface ServeOptions {
  readonly config?: string
  readonly listen?: string
  readonly allow?: readonly string[]
}

/** How long the last records may take to be written before the process ends without them. */
const FLUSH_TIMEOUT_MS = 3000
const STDOUT_FD = 1

export async function serve(options: ServeOptions, io: Io): Promise<ExitCode> {
  const { config: file, ...overrides } = options
  const read = readConfig(file, overrides)
  if (read.kind === 'unreadable') {
    io.stderr.write(`sallyport: ${read.message}; nothing listens\n`)
    return EXIT.usage
  }
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    io.stderr.write(`sallyport: the configuration is invalid; nothing listens\n`)
    return EXIT.usage
  }
  const { config } = read
  const say = (text: string): void => void io.stderr.write(`sallyport: ${text}\n`)
  const assembled = open(config, io, say)
  if (!assembled) return EXIT.usage
  const { gate, journal, wire } = assembled
  const state = { policyHash: config.policy.hash, mode: config.policy.mode }
  try {
    await gate.start()
  } catch (error) {
    say(`${whyNotListening(error, config)}; nothing listens`)
    return EXIT.usage
  }
  const endpoints = gate.endpoints.map(formatEndpoint)
  journal.record({
    kind: 'gate',
    action: 'gate-started',
    message: `started on ${endpoints.join(', ')}`,
    ...state,
    facts: { listen: endpoints, presets: config.presets, rules: config.policy.allow.length, wire: wire.name },
  })
  for (const notice of read.notices) say(notice)
  if (io.stderr.isTTY) {
    const facts = {
      version: readVersion(),
      config,
      configFile: read.file,
      endpoints: gate.endpoints,
      wire: wire.name,
    }
    io.stderr.write(formatBanner(facts))
  }

  const { signal, hurried } = await untilStopped(gate, (name) => {
    journal.record({ kind: 'gate', action: 'gate-draining', message: `stopping on ${name}`, ...state })
    if (io.stderr.isTTY) say(`${name}: closing when open tunnels are done; again to close now`)
  })
  journal.record({
    kind: 'gate',
    action: 'gate-stopped',
    message: `stopped on ${signal}`,
    ...state,
    facts: { totals: journal.totals },
  })
  const flushed = await journal.flush(hurried ? 500 : FLUSH_TIMEOUT_MS)
  if (!flushed) say(`${journal.lost} audit records could not be written`)
  return hurried || !flushed ? EXIT.finding : EXIT.ok
}

/** Opens the sinks and puts the gate together; nothing when a sink cannot be opened. */
function open(config: Config, io: Io, say: (text: string) => void): AssembledGate | undefined {
  const sinks: AuditSink[] = []
  const promise =
    config.audit.onError === 'deny' ? 'no tunnel opens until it works again' : 'tunnels open unrecorded'
  const fdSink = (name: string, fd: number): FdSink =>
    new FdSink({
      name,
      fd,
      onTrouble: (code) => say(`cannot write audit records to ${name}: ${code}; ${promise}`),
      onRecovered(lost) {
        say(`audit records go to ${name} again; ${lost} were lost`)
        assembled.journal.record({
          kind: 'gate',
          action: 'audit-recovered',
          message: `writing to ${name} works again, ${lost} records were lost`,
          policyHash: config.policy.hash,
          mode: config.policy.mode,
          facts: { sink: name, lost },
        })
      },
    })
  if (config.audit.stdout) {
    sinks.push(
      io.stdout.isTTY
        ? createTerminalSink(io.stdout, wantsColor(io.stdout))
        : fdSink('standard output', STDOUT_FD),
    )
  }
  if (config.audit.file) {
    const { path } = config.audit.file
    try {
      sinks.push(fdSink(path, openSync(path, 'a', 0o640)))
    } catch (error) {
      say(
        `cannot open audit.file: ${error instanceof Error ? error.message : String(error)}; nothing listens`,
      )
      return undefined
    }
  }
  const onBug = (error: unknown): void =>
    say(
      `unexpected, and so denied: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    )
  const assembled = assembleGate(config, { sinks, onBug })
  return assembled
}

/** Waits for SIGTERM or SIGINT, then for the gate to stop; a second signal hurries it. */
async function untilStopped(
  gate: Gate,
  onFirst: (signal: string) => void,
): Promise<{ signal: string; hurried: boolean }> {
  let hurried = false
  return new Promise((resolve, reject) => {
    let first: NodeJS.Signals | undefined
    const onSignal = (signal: NodeJS.Signals): void => {
      if (first !== undefined) {
        hurried = true
        void gate.stop()
        return
      }
      first = signal
      onFirst(signal)
      gate.stop().then(() => resolve({ signal, hurried }), reject)
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
  })
}

function whyNotListening(error: unknown, config: Config): string {
  const where = config.listen.map(formatListenAddress).join(', ')
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'EADDRINUSE':
      return `cannot listen on ${where}: the port is in use; stop what has it, or choose another with --listen`
    case 'EACCES':
    case 'EPERM':
      return `cannot listen on ${where}: no permission; ports below 1024 need root or CAP_NET_BIND_SERVICE`
    case 'EADDRNOTAVAIL':
      return `cannot listen on ${where}: this machine has no such address`
    default:
      return `cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}`
  }
}
