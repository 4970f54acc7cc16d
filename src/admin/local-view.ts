/** The view of this process. */
import type { Clock } from '../clock.ts'
import type { DnsCache } from '../dns/cache.ts'
import type { Meter } from '../metrics/meter.ts'
import { ruleName } from '../policy/rules.ts'
import type { Gate } from '../proxy/gate.ts'
import type { Tunnel, TunnelRegistry } from '../proxy/tunnels.ts'
import type { GateView, ProcessView, TunnelEntry } from './view.ts'

/** The parts of a gate; `cache` is another after some reloads, so it is asked for each time. */
export interface ViewedParts {
  readonly gate: Pick<Gate, 'connections'>
  readonly dropped: number
  readonly cache: Pick<DnsCache, 'size' | 'list'>
  readonly tunnels: Pick<TunnelRegistry, 'open'>
  readonly meter: Pick<Meter, 'figures'>
}

export function viewProcess(parts: ViewedParts, clock: Clock): ProcessView {
  return {
    figures: () =>
      parts.meter.figures({
        connections: parts.gate.connections,
        dropped: parts.dropped,
        dnsEntries: parts.cache.size,
        tunnels: parts.tunnels.open,
      }),
    tunnels(limit) {
      const { open } = parts.tunnels
      const nowMs = clock.monotonicMs()
      // Only those that are shown are written out.
      const newest = [...open].toSorted((a, b) => b.attempt.startedMs - a.attempt.startedMs).slice(0, limit)
      return { total: open.size, tunnels: newest.map((tunnel) => toEntry(tunnel, nowMs)) }
    },
    dns: () => parts.cache.list(),
  }
}

export function createLocalView(process: ProcessView): GateView {
  return {
    attendance: { serving: 1, of: 1 },
    figures: async () => process.figures(),
    tunnels: async (limit) => process.tunnels(limit),
    dns: async () => process.dns(),
  }
}

function toEntry({ attempt, relay }: Tunnel, nowMs: number): TunnelEntry {
  const { id, client, user, target, address, rule, startedMs, revoked = false } = attempt
  return {
    id,
    client: client.address.includes(':')
      ? `[${client.address}]:${client.port}`
      : `${client.address}:${client.port}`,
    ...(user !== undefined && { user }),
    host: target?.host ?? '',
    port: target?.port ?? 0,
    ...(address !== undefined && { address }),
    ...(rule && { rule: ruleName(rule), ruleset: rule.ruleset }),
    openSeconds: Math.round(nowMs - startedMs) / 1000,
    bytesUp: relay.bytesUp,
    bytesDown: relay.bytesDown,
    revoked,
  }
}
