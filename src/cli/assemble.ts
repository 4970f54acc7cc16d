/** The one place where the parts are put together. Everything that can be replaced comes in through `Seams`. */
import { LRUCache } from 'lru-cache'
import { createEventIds } from '../audit/event-id.ts'
import { Journal } from '../audit/journal.ts'
import type { AuditSink } from '../audit/sinks.ts'
import { systemClock, type Clock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { inBlocks } from '../policy/addresses.ts'
import { DnsCache } from '../dns/cache.ts'
import { createQuery, type Query } from '../dns/query.ts'
import { createResolver } from '../dns/resolver.ts'
import { createGate, type Gate } from '../proxy/gate.ts'
import { createGuard } from '../proxy/guard.ts'
import { TunnelRegistry } from '../proxy/tunnels.ts'
import { createPortableWire } from '../wire/portable/wire.ts'
import type { Wire } from '../wire/types.ts'
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
  /** Unexpected errors. Default: a warning of the process. */
  readonly onBug?: (error: unknown) => void
}

export interface AssembledGate {
  readonly gate: Gate
  readonly journal: Journal
  readonly wire: Wire
  readonly cache: DnsCache
  readonly tunnels: TunnelRegistry
}

/** `config.wire` is honoured by {@link chooseWire}; without one in `seams` the portable wire serves. */
export function assembleGate(config: Config, seams: Seams): AssembledGate {
  const clock = seams.clock ?? systemClock
  const wire = seams.wire ?? createPortableWire()
  const journal = new Journal({ ...config.audit, sinks: seams.sinks, clock, version: readVersion() })
  const query = seams.query ?? createQuery(config.dns)
  const cache = new DnsCache(query, clock, config.dns)
  const deadlineMs = config.dns.timeoutMs * config.dns.tries
  const tunnels = new TunnelRegistry(config.clients.maxTunnelsPerClient)
  const { limits } = config

  const gate = createGate(
    { listen: config.listen, maxConnections: limits.connections, drainTimeoutMs: limits.drainTimeoutMs },
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
      audit: journal,
      tunnels,
      nextId: createEventIds(() => clock.wallMs()),
      clientAllowed: remembering((address) => inBlocks(address, config.clients.allow)),
      requireSni: config.sni === 'require',
      limits,
      draining: () => self.draining,
      onBug: seams.onBug ?? ((error) => process.emitWarning(error instanceof Error ? error : String(error))),
    }),
  )
  return { gate, journal, wire, cache, tunnels }
}

/** Remembers answers for the addresses seen lately; the same few clients ask all day. */
function remembering(ask: (address: string) => boolean): (address: string) => boolean {
  const answers = new LRUCache<string, boolean>({ max: 4096 })
  return (address) => {
    const known = answers.get(address)
    if (known !== undefined) return known
    const answer = ask(address)
    answers.set(address, answer)
    return answer
  }
}
