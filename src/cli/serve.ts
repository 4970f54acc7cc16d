/** `sallyport serve`: starts the gate, says so, and stops it on a signal. */
import { availableParallelism } from 'node:os'
import type { Config } from '../config/load.ts'
import { formatListenAddress } from '../config/units.ts'
import { createJournal } from '../audit/journal.ts'
import type { PolicyMode } from '../policy/rules.ts'
import { Trail } from '../admin/trail.ts'
import { adminServices, openAdmin } from './admin.ts'
import { AdminToken } from './admin-token.ts'
import { scribeOptions } from './assemble.ts'
import { findFileProblem } from './configured-files.ts'
import { createGateFirewall } from './gate-firewall.ts'
import { formatBanner, formatEndpoint } from './banner.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { takeListenFds, withSockets } from './listen-fds.ts'
import { openSinks } from './open-sinks.ts'
import { createReporter } from './reporter.ts'
import { runHere } from './run-here.ts'
import { runWorkers } from './run-workers.ts'
import type { RunningGate } from './running-gate.ts'
import { DEFAULT_CONFIG_FILE, printIssues, readConfig } from './read-config.ts'
import { Reloader } from './reload.ts'
import { readVersion } from './version.ts'
import { FilesWatcher } from './watch-files.ts'

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
  const listen = withSockets(read.config.listen, takeListenFds(process.env, process.pid))
  const problem = typeof listen === 'string' ? listen : findFileProblem(read.config)
  if (typeof listen === 'string' || problem !== undefined) {
    io.stderr.write(`sallyport: ${problem}; nothing listens\n`)
    return EXIT.usage
  }
  const config: Config = { ...read.config, listen }
  let reloader: Reloader | undefined
  const state = (): { policyHash: string; mode: PolicyMode } => {
    const { hash, mode } = (reloader?.config ?? config).policy
    return { policyHash: hash, mode }
  }
  const reporter = createReporter(io.stderr)
  const { say } = reporter
  const opened = await openSinks(config.audit, io.stdout, say, (event) =>
    journal.record({ ...event, ...state() }),
  )
  if (!opened) return EXIT.usage
  const { found, ...trail } = opened
  const lately = new Trail()
  const onLine = config.admin.listen ? (line: string) => lately.take(line) : undefined
  const journal = createJournal({ ...config.audit, ...scribeOptions(config), ...trail, onLine })
  const recordFound = (): void => {
    if (found) journal.record({ ...found, ...state() })
  }
  // Before anything listens: whoever sees the port open may stop us at once.
  const signals = watchSignals()
  // A terminal that closes ends what runs in it; elsewhere SIGHUP asks for a reload.
  process.on('SIGHUP', () => {
    if (io.stderr.isTTY) process.kill(process.pid, 'SIGTERM')
    else void reloader?.reload('signal')
  })
  const admin = await openAdmin(config, say)
  if (admin === 'failed') {
    recordFound()
    await journal.ledger.flush(FLUSH_TIMEOUT_MS)
    return EXIT.usage
  }
  let gate: RunningGate
  const filter = createGateFirewall(config, say)
  const workers = config.workers === 'auto' ? availableParallelism() : config.workers
  try {
    if (workers === 1) gate = await runHere(config, journal, reporter, filter?.admit)
    else {
      const source = { text: read.text, name: read.file, overrides }
      gate = await runWorkers(config, journal, reporter, { workers, admit: filter?.admit, source })
    }
  } catch (error) {
    say(`${whyNotListening(error, config)}; nothing listens`)
    recordFound()
    await journal.ledger.flush(FLUSH_TIMEOUT_MS)
    return EXIT.usage
  }
  try {
    await filter?.start()
  } catch (error) {
    await gate.stop()
    say(`firewall: ${error instanceof Error ? error.message : String(error)}; nothing listens`)
    recordFound()
    await journal.ledger.flush(FLUSH_TIMEOUT_MS)
    return EXIT.usage
  }
  const token = new AdminToken(config)
  reloader = new Reloader({
    config: read.config,
    read: () => readConfig(file, overrides),
    gate: token.around(filter?.around(gate) ?? gate),
    audit: journal,
    say,
  })
  const watcher = watchConfig(file, reloader, say)
  const current = reloader
  let draining = false
  admin?.serve(
    adminServices({
      config: () => current.config,
      configFile: read.file,
      gate,
      journal,
      token,
      trail: lately,
      draining: () => draining,
      reloaded: () => current,
      reload: () => current.reload('admin'),
    }),
  )
  const endpoints = gate.endpoints.map(formatEndpoint)
  journal.record({
    kind: 'gate',
    action: 'gate-started',
    message: `started on ${endpoints.join(', ')}`,
    ...state(),
    facts: {
      listen: endpoints,
      presets: config.presets,
      rules: config.policy.allow.length,
      wire: gate.wire,
      ...(gate.fallback !== undefined && { wire_fallback: gate.fallback }),
      workers: gate.workers,
      ...(trail.head !== undefined && { continues: trail.head }),
      ...(config.firewall && { firewall: config.firewall.table }),
      ...(admin && { admin: formatEndpoint(admin.endpoint) }),
    },
  })
  recordFound()
  for (const notice of read.notices) say(notice)
  if (gate.fallback !== undefined)
    say(`the kernel wire is not used: ${gate.fallback}; the portable wire serves`)
  if (io.stderr.isTTY) {
    const facts = {
      version: readVersion(),
      config,
      configFile: read.file,
      endpoints: gate.endpoints,
      wire: gate.wire,
      workers: gate.workers,
      admin: admin?.endpoint,
    }
    io.stderr.write(formatBanner(facts))
  }

  const signal = await signals.first
  watcher.close()
  draining = true
  let hurried = false
  const again = new Promise<void>((resolve) => {
    signals.onAgain = () => {
      hurried = true
      void gate.stop()
      resolve()
    }
  })
  journal.record({ kind: 'gate', action: 'gate-draining', message: `stopping on ${signal}`, ...state() })
  if (io.stderr.isTTY) say(`${signal}: closing when open tunnels are done; again to close now`)
  await gate.stop()
  filter?.stop()
  await admin?.close()
  journal.record({
    kind: 'gate',
    action: 'gate-stopped',
    message: `stopped on ${signal}`,
    ...state(),
    facts: { totals: gate.totals() },
  })
  const flushed = await Promise.race([
    journal.ledger.flush(FLUSH_TIMEOUT_MS),
    again.then(() => journal.ledger.flush(HURRIED_FLUSH_MS)),
  ])
  if (!flushed) say(`${journal.ledger.lost} audit records could not be written`)
  return hurried || !flushed ? EXIT.finding : EXIT.ok
}

/** Reloads when the configuration changes, or a file that it names. */
function watchConfig(
  file: string | undefined,
  reloader: Reloader,
  say: (text: string) => void,
): FilesWatcher {
  const watcher = new FilesWatcher({
    paths: () => [file ?? DEFAULT_CONFIG_FILE, ...reloader.files],
    onChange: () => void reloader.reload('file'),
    onTrouble: (why) => say(`changes of files go unnoticed (${why}); send SIGHUP to reload`),
  })
  reloader.onFiles = () => watcher.renew()
  return watcher
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
    case 'ERR_ACCESS_DENIED':
      return error instanceof Error && 'permission' in error && error.permission === 'ChildProcess'
        ? 'cannot start workers: Node may not start programs (--permission); add --allow-child-process, or set `workers: 1`'
        : `cannot listen on ${where}: Node may not use the network (--permission); add --allow-net`
    default:
      return `cannot listen on ${where}: ${error instanceof Error ? error.message : String(error)}`
  }
}
