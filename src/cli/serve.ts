/** `sallyport serve`: starts the gate, says so, and stops it on a signal. */
import type { Config } from '../config/load.ts'
import { formatListenAddress } from '../config/units.ts'
import { chooseWire } from '../wire/choose.ts'
import { assembleGate } from './assemble.ts'
import { formatBanner, formatEndpoint } from './banner.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { openSinks } from './open-sinks.ts'
import { printIssues, readConfig } from './read-config.ts'
import { readVersion } from './version.ts'

export interface ServeOptions {
  readonly config?: string
  readonly listen?: string
  readonly allow?: readonly string[]
}

/** How long the last records may take to be written before the process ends without them. */
const FLUSH_TIMEOUT_MS = 3000
const HURRIED_FLUSH_MS = 500

export async function serve(options: ServeOptions, io: Io): Promise<ExitCode> {
  // Whoever read our output may go away; that is the sinks' business, and no reason to die.
  for (const stream of [io.stdout, io.stderr]) stream.on('error', () => undefined)
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
  const state = { policyHash: config.policy.hash, mode: config.policy.mode }
  const say = (text: string): void => void io.stderr.write(`sallyport: ${text}\n`)
  const onBug = (error: unknown): void =>
    say(
      `unexpected, and so denied: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
    )
  const { wire, fallback } = await chooseWire({
    wire: config.wire,
    onBug,
    onAcceptPaused: throttle((code) =>
      say(`cannot accept connections for now: ${code}; raise the descriptor limit`),
    ),
  })
  const sinks = openSinks(config.audit, io.stdout, say, (event) => journal.record({ ...event, ...state }))
  if (!sinks) return EXIT.usage
  const { gate, journal } = assembleGate(config, { wire, sinks, onBug })
  // Before anything listens: whoever sees the port open may stop us at once.
  const signals = watchSignals()
  // A terminal that closes ends what runs in it; elsewhere SIGHUP asks for a reload.
  process.on('SIGHUP', () => {
    if (io.stderr.isTTY) process.kill(process.pid, 'SIGTERM')
    else say('SIGHUP: this version cannot reload; restart it to change its configuration')
  })
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
    facts: {
      listen: endpoints,
      presets: config.presets,
      rules: config.policy.allow.length,
      wire: wire.name,
      ...(fallback !== undefined && { wire_fallback: fallback }),
    },
  })
  for (const notice of read.notices) say(notice)
  if (fallback !== undefined) say(`the kernel wire is not used: ${fallback}; the portable wire serves`)
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

  const signal = await signals.first
  let hurried = false
  const again = new Promise<void>((resolve) => {
    signals.onAgain = () => {
      hurried = true
      void gate.stop()
      resolve()
    }
  })
  journal.record({ kind: 'gate', action: 'gate-draining', message: `stopping on ${signal}`, ...state })
  if (io.stderr.isTTY) say(`${signal}: closing when open tunnels are done; again to close now`)
  await gate.stop()
  journal.record({
    kind: 'gate',
    action: 'gate-stopped',
    message: `stopped on ${signal}`,
    ...state,
    facts: { totals: { ...journal.totals, dropped: gate.dropped } },
  })
  const flushed = await Promise.race([
    journal.flush(FLUSH_TIMEOUT_MS),
    again.then(() => journal.flush(HURRIED_FLUSH_MS)),
  ])
  if (!flushed) say(`${journal.lost} audit records could not be written`)
  return hurried || !flushed ? EXIT.finding : EXIT.ok
}

/** Notices SIGTERM and SIGINT from now on; the first is `first`, each later one calls `onAgain`. */
function watchSignals(): { readonly first: Promise<string>; onAgain: () => void } {
  let seen = false
  let tell: (signal: string) => void = () => undefined
  const watch = {
    first: new Promise<string>((resolve) => {
      tell = resolve
    }),
    onAgain: (): void => undefined,
  }
  const onSignal = (signal: NodeJS.Signals): void => {
    if (seen) watch.onAgain()
    seen = true
    tell(signal)
  }
  process.on('SIGTERM', onSignal)
  process.on('SIGINT', onSignal)
  return watch
}

function whyNotListening(error: unknown, config: Config): string {
  const failed: unknown = error instanceof Error && 'listen' in error ? error.listen : undefined
  const address = config.listen.find((candidate) => candidate === failed)
  const where = (address ? [address] : config.listen).map(formatListenAddress).join(', ')
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

/** At most one call in ten seconds: a condition that lasts is said now and then, not each time. */
function throttle(tell: (text: string) => void): (text: string) => void {
  let lastMs = Number.NEGATIVE_INFINITY
  return (text) => {
    if (performance.now() - lastMs < 10_000) return
    lastMs = performance.now()
    tell(text)
  }
}
