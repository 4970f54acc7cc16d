/** The one place where the parts are put together. Everything that can be replaced comes in through `Seams`. */
import { hostname } from 'node:os'
import { LRUCache } from 'lru-cache'
import { createEventIds } from '../audit/event-id.ts'
import { createJournal, type Audit, type Journal } from '../audit/journal.ts'
import type { ScribeOptions } from '../audit/scribe.ts'
import type { AuditSink } from '../audit/sinks.ts'
import { systemClock, type Clock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { inBlocks } from '../policy/addresses.ts'
import { rulesForAddress } from '../policy/clients.ts'
import { DnsCache } from '../dns/cache.ts'
import { createQuery, type Query } from '../dns/query.ts'
import { createResolver } from '../dns/resolver.ts'
import { createGate, type Gate } from '../proxy/gate.ts'
import { createGuard } from '../proxy/guard.ts'
import { createIdentify, type Identify } from '../proxy/identify.ts'
import { createVerifier } from '../proxy/verify-password.ts'
import { TunnelRegistry } from '../proxy/tunnels.ts'
import { createPortableWire } from '../wire/portable/wire.ts'
import type { Wire } from '../wire/types.ts'
import { readPasswords } from './client-files.ts'
import { openTlsWires } from './tls-listeners.ts'
import { readVersion } from './version.ts'

/** What an embedder or a test may bring. */
export interface Seams {
  readonly clock?: Clock
  /** Asks the DNS; default: c-ares with the configured servers. */
  readonly query?: Query
  readonly wire?: Wire
  /** This host's own addresses, in canonical text; default: its network interfaces. */
  readonly ownAddresses?: () => ReadonlySet<string>
  /**
   * Where audit lines go: the embedder's, whatever `audit.stdout` and `audit.file` say. Empty is a decision to keep no
   * record, so it has to be written.
   */
  readonly sinks: readonly AuditSink[]
  /** `service.node.name` of the records. Default: the name of the host, which in a container or pod is its name. */
  readonly nodeName?: string
  /** Several processes share the listening addresses. Default: no. */
  readonly reusePort?: boolean
  /** Unexpected errors. Default: a warning of the process. */
  readonly onBug?: (error: unknown) => void
}

export interface AssembledParts {
  readonly gate: Gate
  readonly wire: Wire
  readonly cache: DnsCache
  readonly tunnels: TunnelRegistry
}

export interface AssembledGate extends AssembledParts {
  readonly journal: Journal
}

/**
 * Throws {@link ConfiguredFileError} for a file that the configuration names and that is missing or wrong.
 * `config.wire` is honoured by {@link chooseWire}; without one in `seams` the portable wire serves.
 */
export function assembleGate(config: Config, seams: Seams): AssembledGate {
  const journal = createJournal({ ...config.audit, ...scribeOptions(config, seams), sinks: seams.sinks })
  return { ...assembleParts(config, journal, seams), journal }
}

/** What a scribe of this gate writes on its records. */
export function scribeOptions(config: Config, seams: Pick<Seams, 'clock' | 'nodeName'> = {}): ScribeOptions {
  return {
    record: config.audit.record,
    clock: seams.clock ?? systemClock,
    version: readVersion(),
    nodeName: seams.nodeName ?? hostname(),
  }
}

/** All but the audit trail, which may lead to another process. */
export function assembleParts(config: Config, audit: Audit, seams: Omit<Seams, 'sinks'>): AssembledParts {
  const clock = seams.clock ?? systemClock
  const wire = seams.wire ?? createPortableWire()
  const query = seams.query ?? createQuery(config.dns)
  const cache = new DnsCache(query, clock, config.dns)
  const deadlineMs = config.dns.timeoutMs * config.dns.tries
  const tunnels = new TunnelRegistry(config.clients.maxTunnelsPerClient)
  const { limits } = config
  const identify = assembleIdentify(config)

  const gate = createGate(
    {
      listen: config.listen,
      wires: openTlsWires(config, seams.reusePort),
      maxConnections: limits.connections,
      drainTimeoutMs: limits.drainTimeoutMs,
    },
    (self) => ({
      wire,
      clock,
      policy: () => config.policy,
      resolve: createResolver(cache, clock, { hosts: config.dns.hosts, deadlineMs }),
      guard: createGuard({
        allow: config.addresses.allow,
        clock,
        listeners: () => self.endpoints,
        ...(seams.ownAddresses && { ownAddresses: seams.ownAddresses }),
      }),
      audit,
      tunnels,
      nextId: createEventIds(() => clock.wallMs()),
      clientAllowed: remembering((address) => inBlocks(address, config.clients.allow)),
      identify,
      limits,
      draining: () => self.draining,
      onBug: seams.onBug ?? ((error) => process.emitWarning(error instanceof Error ? error : String(error))),
    }),
  )
  return { gate, wire, cache, tunnels }
}

/** Nothing where every client has the one policy and shows no credentials: then no request pays for the question. */
function assembleIdentify(config: Config): Identify | undefined {
  const { rules, others } = config.clients
  const passwords = readPasswords(config)
  const certificates = config.listen.some(({ tls }) => tls?.clientCa !== undefined)
  if (rules.length === 0 && !passwords && !certificates && others === 'policy') return undefined
  return createIdentify({
    rulesFor: remembering((address) => rulesForAddress(rules, address)),
    others: others === 'policy' ? () => config.policy : undefined,
    verify: passwords && createVerifier(passwords),
  })
}

/** Remembers answers for the addresses seen lately; the same few clients ask all day. */
function remembering<T extends object | boolean>(ask: (address: string) => T): (address: string) => T {
  const answers = new LRUCache<string, T>({ max: 4096 })
  return (address) => {
    const known = answers.get(address)
    if (known !== undefined) return known
    const answer = ask(address)
    answers.set(address, answer)
    return answer
  }
}
