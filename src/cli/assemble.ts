/** The one place where the parts are put together. Everything that can be replaced comes in through `Seams`. */
import { hostname } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { LRUCache } from 'lru-cache'
import type { Attempt } from '../audit/attempt.ts'
import { createEventIds } from '../audit/event-id.ts'
import { createJournal, type Audit, type Journal } from '../audit/journal.ts'
import type { ScribeOptions } from '../audit/scribe.ts'
import type { AuditSink } from '../audit/sinks.ts'
import { systemClock, type Clock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { inBlocks } from '../policy/addresses.ts'
import { policyOfClient, rulesForAddress } from '../policy/clients.ts'
import type { Policy } from '../policy/rules.ts'
import { DnsCache } from '../dns/cache.ts'
import { createQuery, type Query } from '../dns/query.ts'
import { createResolver } from '../dns/resolver.ts'
import { createForward, type Forward } from '../forward/forward.ts'
import { createAdmission, type AdmitElements } from '../firewall/admission.ts'
import { renewInUse } from '../firewall/renew-in-use.ts'
import { Meter } from '../metrics/meter.ts'
import { createCandidate, type Candidate } from '../proxy/candidate.ts'
import type { Services } from '../proxy/connect.ts'
import { createGate, type Gate, type GateLimits } from '../proxy/gate.ts'
import { createGuard, type Guard } from '../proxy/guard.ts'
import { createLoopGuard } from '../proxy/loop-guard.ts'
import { createIdentify, type Identify } from '../proxy/identify.ts'
import { isRevoked } from '../proxy/revoked.ts'
import { createVerifier } from '../proxy/verify-password.ts'
import { TunnelRegistry } from '../proxy/tunnels.ts'
import { createPortableWire } from '../wire/portable/wire.ts'
import type { Wire } from '../wire/types.ts'
import { readCandidate } from './candidate.ts'
import { readPasswords } from './client-files.ts'
import { openTlsWires, readTlsFiles } from './tls-listeners.ts'
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
  /** Puts addresses into the packet filter; needed where the configuration has a `firewall`. */
  readonly admit?: AdmitElements | undefined
  /** Unexpected errors. Default: a warning of the process. */
  readonly onBug?: (error: unknown) => void
}

export interface AssembledParts {
  readonly gate: Gate
  readonly wire: Wire
  /** The one in use; another after a reload that changes `dns`. */
  readonly cache: DnsCache
  readonly tunnels: TunnelRegistry
  readonly meter: Meter
  /** Connections closed without an answer, by the gate or by a listener before their handshake. */
  readonly dropped: number
  /**
   * Puts another configuration in force, whole or not at all: from the next connection on, and for open tunnels as
   * `policy.onRevoke` says. What is bound to the process, such as its listeners, stays as it is. Answers with the
   * tunnels that it would refuse now. Throws {@link ConfiguredFileError}, and then nothing has changed.
   */
  reload(config: Config): readonly Attempt[]
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
  // Not spread: what a getter says changes.
  return Object.assign(assembleParts(config, journal, seams), { journal })
}

/** What a scribe of this gate writes on its records. */
export function scribeOptions(config: Config, seams: Pick<Seams, 'clock' | 'nodeName'> = {}): ScribeOptions {
  return {
    record: config.audit.record,
    fold: config.audit.fold,
    clock: seams.clock ?? systemClock,
    version: readVersion(),
    nodeName: seams.nodeName ?? hostname(),
  }
}

/** All but the audit trail, which may lead to another process. */
export function assembleParts(config: Config, audit: Audit, seams: Omit<Seams, 'sinks'>): AssembledParts {
  const clock = seams.clock ?? systemClock
  const wire = seams.wire ?? createPortableWire()
  const tunnels = new TunnelRegistry(config.clients.maxTunnelsPerClient)
  const tlsWires = openTlsWires(config, seams.reusePort)
  const nextId = createEventIds(() => clock.wallMs())
  const onBug =
    seams.onBug ?? ((error) => process.emitWarning(error instanceof Error ? error : String(error)))
  const meter = new Meter(clock)
  const openCache = ({ dns }: Config): DnsCache =>
    new DnsCache(meter.timed(seams.query ?? createQuery(dns)), clock, dns)
  // It lasts as long as the process, whatever a reload says.
  const firewall = config.firewall ?? undefined
  const { admit } = seams
  if (firewall && !admit) throw new TypeError('`firewall` needs somebody who keeps the filter: bring `admit`')
  const renewSoon = firewall && admit && renewInUse(tunnels, admit, firewall.graceMs, clock)
  let current = config
  let forward: Forward | undefined
  let cache = openCache(config)

  function makeServices(next: Config, names: DnsCache, self: Pick<Gate, 'endpoints' | 'draining'>): Services {
    const { dns, clients, limits, policy } = next
    const guardOf = ({ addresses }: Config): Guard =>
      createGuard({
        allow: addresses.allow,
        clock,
        listeners: () => self.endpoints,
        ...(seams.ownAddresses && { ownAddresses: seams.ownAddresses }),
      })
    const candidate = assembleCandidate(next, guardOf, clock)
    return {
      wire,
      clock,
      policy: () => policy,
      resolve: createResolver(names, clock, { hosts: dns.hosts, deadlineMs: dns.timeoutMs * dns.tries }),
      guard: candidate ? candidate.beside(guardOf(next)) : guardOf(next),
      isLoop: createLoopGuard(),
      audit: meter.metered(audit),
      tunnels,
      nextId,
      clientAllowed: allowedIn(clients),
      identify: assembleIdentify(next),
      candidate: candidate?.compare,
      letIn:
        firewall &&
        admit &&
        createAdmission({
          admit,
          clock,
          graceMs: firewall.graceMs,
          maxLifeMs: dns.maxTtlMs,
          dialTimeoutMs: limits.dialTimeoutMs,
        }),
      forward: next.forward.absoluteForm === 'on' ? (forward ??= createForward()) : undefined,
      limits,
      draining: () => self.draining,
      onBug,
    }
  }

  const gate = createGate({ listen: config.listen, wires: tlsWires, ...limitsOf(config) }, (self) =>
    makeServices(config, cache, self),
  )
  return {
    gate,
    wire,
    get cache() {
      return cache
    },
    tunnels,
    meter,
    get dropped() {
      return [...tlsWires.values()].reduce((sum, wire) => sum + wire.dropped, gate.dropped)
    },
    reload(next) {
      // All that can fail comes before all that changes.
      const names = sameQueries(current, next) ? cache : openCache(next)
      const services = makeServices(next, names, gate)
      const certificates = readTlsFiles(config)
      for (const [address, wire] of tlsWires) {
        const files = certificates.get(address)
        if (files) wire.renew(files)
      }
      current = next
      cache = names
      tunnels.maxPerClient = next.clients.maxTunnelsPerClient
      gate.reconfigure(limitsOf(next), services)
      renewSoon?.()
      const standing = {
        clientAllowed: services.clientAllowed,
        policyOf: (attempt: Attempt) => policyOf(next, attempt),
      }
      const nowMs = clock.wallMs()
      return tunnels.revoke(
        (attempt) => isRevoked(attempt, standing, nowMs),
        next.onRevoke === 'close',
        clock.monotonicMs(),
      )
    },
  }
}

function limitsOf({ limits }: Config): GateLimits {
  return {
    maxConnections: limits.connections,
    drainDelayMs: limits.drainDelayMs,
    drainTimeoutMs: limits.drainTimeoutMs,
  }
}

/** Whether answers that are known stay good: `hosts` are looked at before the cache is. */
function sameQueries(a: Config, b: Config): boolean {
  return isDeepStrictEqual({ ...a.dns, hosts: {} }, { ...b.dns, hosts: {} })
}

/** The policy of an attempt's client, by what the client has proven. */
function policyOf({ clients, policy }: Config, attempt: Attempt): Policy | undefined {
  return policyOfClient(
    { rules: clients.rules, others: clients.others === 'policy' ? policy : undefined },
    {
      address: attempt.client.address,
      user: attempt.user,
      certificateNames: attempt.certificateNames,
    },
  )
}

function allowedIn({ allow }: Config['clients']): (address: string) => boolean {
  return remembering((address) => inBlocks(address, allow))
}

function assembleCandidate(
  config: Config,
  guardOf: (config: Config) => Guard,
  clock: Clock,
): Candidate | undefined {
  const candidate = readCandidate(config)
  return (
    candidate &&
    createCandidate({
      fallback: candidate.policy,
      policyOf: (attempt) => policyOf(candidate, attempt),
      clientAllowed: allowedIn(candidate.clients),
      guard: guardOf(candidate),
      clock,
    })
  )
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
