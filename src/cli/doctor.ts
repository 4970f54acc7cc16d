/** `sallyport doctor`: probes the allowed hosts and says who has to mend what. */
import { X509Certificate } from 'node:crypto'
import { Resolver } from 'node:dns'
import { createSecureContext, getCACertificates } from 'node:tls'
import { systemClock } from '../clock.ts'
import { policiesOf, type Config } from '../config/load.ts'
import { parseDurationMs } from '../config/units.ts'
import { examineAll, reportOn } from '../doctor/doctor.ts'
import type { TlsTrust } from '../doctor/handshake.ts'
import { createLookUp, MAX_SERVERS } from '../doctor/lookup.ts'
import { REPORT_SCHEMA, type DoctorReport } from '../doctor/report.ts'
import { connectTcp } from '../doctor/sockets.ts'
import { selectTargets } from '../doctor/targets.ts'
import { formatReport } from '../doctor/text.ts'
import { judge } from '../doctor/verdict.ts'
import { parseVia } from '../doctor/via.ts'
import { STEP_LIMITS, type Kit } from '../doctor/walk.ts'
import { createGuard } from '../proxy/guard.ts'
import { showProgress } from './doctor-progress.ts'
import { EXIT, wantsColor, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'
import { readVersion } from './version.ts'

export interface DoctorOptions {
  readonly config?: string
  readonly allow?: readonly string[]
  readonly via?: string
  readonly timeout?: string
  readonly json?: boolean
}

const DEFAULT_TIMEOUT = '60s'

export async function doctor(named: readonly string[], options: DoctorOptions, io: Io): Promise<ExitCode> {
  const refuse = (problem: string): ExitCode => {
    io.stderr.write(`sallyport: ${problem}\n`)
    return EXIT.usage
  }
  const timeLimitMs = parseDurationMs(options.timeout ?? DEFAULT_TIMEOUT)
  if (timeLimitMs === undefined || timeLimitMs === 0)
    return refuse('--timeout: expected a duration such as 30s or 2m')
  const parsed = options.via === undefined ? undefined : parseVia(options.via)
  // The URL is not repeated: it may hold a password.
  if (parsed && !parsed.ok) return refuse(`--via: ${parsed.problem}`)
  const via = parsed?.via
  const read = readConfig(options.config, options.allow ? { allow: options.allow } : {})
  if (read.kind === 'unreadable') return refuse(read.message)
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const { config } = read
  const selected = selectTargets(policiesOf(config), named, systemClock.wallMs())
  if (!selected.ok) return refuse(selected.problem)
  const { courses, notProbed } = selected.selection

  const interrupt = new AbortController()
  const onSignal = (): void => interrupt.abort()
  // Once: a second signal ends the process as usual.
  for (const signal of SIGNALS) process.once(signal, onSignal)
  const dns = dnsServers(config)
  const startedAt = new Date(systemClock.wallMs()).toISOString()
  const start = systemClock.monotonicMs()
  const progress = showProgress(io.stderr, courses, timeLimitMs)
  const ended = await examineAll(courses, createKit(config, dns.servers), {
    ...(via && { via }),
    timeoutMs: timeLimitMs,
    interrupt: interrupt.signal,
  }).finally(() => {
    progress.stop()
    for (const signal of SIGNALS) process.off(signal, onSignal)
  })

  const hosts = courses.map(reportOn)
  const shown = via?.shown ?? null
  const report: DoctorReport = {
    schema: REPORT_SCHEMA,
    startedAt,
    durationMs: Math.round(systemClock.monotonicMs() - start),
    timeLimitMs,
    via: shown,
    dns,
    policy: config.policy.hash,
    hosts,
    notProbed,
    verdict: judge(hosts, shown, ended),
  }
  if (options.json) io.stdout.write(`${JSON.stringify(report)}\n`)
  else {
    const width = io.stdout.isTTY ? { width: Math.max(io.stdout.columns, 40) } : {}
    io.stdout.write(formatReport(report, { color: wantsColor(io.stdout), ...width }))
  }
  return report.verdict.status === 'well' ? EXIT.ok : EXIT.finding
}

const SIGNALS = ['SIGINT', 'SIGTERM'] as const

function dnsServers({ dns }: Config): DoctorReport['dns'] {
  return dns.servers.length > 0
    ? { source: 'config', servers: dns.servers }
    : { source: 'system', servers: new Resolver().getServers().slice(0, MAX_SERVERS) }
}

function createKit(config: Config, servers: readonly string[]): Kit {
  const { timeoutMs, tries, hosts } = config.dns
  return {
    lookUp: createLookUp({ servers, timeoutMs, tries, hosts }),
    guard: createGuard({
      allow: config.addresses.allow,
      clock: systemClock,
      listeners: () => config.listen.map(({ host, port }) => ({ address: host, port })),
    }),
    addressesAllowed: config.addresses.allow,
    connect: connectTcp,
    trust: systemTrust(),
    limits: STEP_LIMITS,
    userAgent: `sallyport-doctor/${readVersion()}`,
    monotonicMs: () => systemClock.monotonicMs(),
    wallMs: () => systemClock.wallMs(),
  }
}

/** Reading every root of the system takes a tenth of a second: only when a certificate gives cause to. */
function systemTrust(): TlsTrust {
  const bundled = getCACertificates('bundled')
  return {
    context: createSecureContext({ ca: bundled }),
    publicRoots: once(() => bundled.map((pem) => new X509Certificate(pem))),
    localRoots: once(() =>
      [...new Set([...getCACertificates('system'), ...getCACertificates('extra')])].flatMap(readCertificate),
    ),
  }
}

/** A store may hold what OpenSSL cannot read; it then trusts nobody. */
function readCertificate(pem: string): readonly X509Certificate[] {
  try {
    return [new X509Certificate(pem)]
  } catch {
    return []
  }
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}
