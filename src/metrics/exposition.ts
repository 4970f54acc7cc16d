/** Everything that `/metrics` says, in the words of Prometheus. Series are bounded: labels are codes of ours, never a client's. */
import { AggregatorRegistry, Registry } from 'prom-client'
import type { Policy } from '../policy/rules.ts'
import type { Counts, Figures } from './figures.ts'
import { DIAL_BOUNDS, QUERY_BOUNDS, TUNNEL_BOUNDS, type HistogramFigures } from './histogram.ts'

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

type PolicyFacts = Pick<Policy, 'hash' | 'mode'>

/** What there is one of in a gate, however many processes carry its tunnels. */
export interface GateFacts {
  readonly version: string
  readonly node: string
  readonly wire: string
  readonly workers: number
  readonly startedMs: number
  readonly draining: boolean
  readonly connectionsLimit: number
  readonly auditAccepting: boolean
  readonly auditLost: number
  /** Lines by `event.action`. */
  readonly auditRecords: Counts
  /** The common one. */
  readonly policy: PolicyFacts
  /** Those of `clients.rules` that have a policy of their own. */
  readonly clientPolicies: readonly { readonly name: string; readonly policy: PolicyFacts }[]
  readonly allowRules: number
  readonly denyRules: number
  /** When the first of the rules in force ends; absent where none does. */
  readonly nextExpiryMs: number | undefined
  /** The last attempt to change the configuration; the start counts as one. */
  readonly reloadOk: boolean
  readonly reloadedMs: number
}

type Type = 'counter' | 'gauge' | 'histogram'

interface Value {
  readonly labels: Readonly<Record<string, string | number>>
  readonly value: number
  readonly metricName?: string
}

interface Series {
  readonly name: string
  readonly help: string
  readonly type: Type
  readonly aggregator: 'sum'
  readonly values: readonly Value[]
}

export function formatMetrics(figures: Figures, facts: GateFacts): Promise<string> {
  return AggregatorRegistry.aggregate([[...seriesOf(figures, facts)]]).metrics()
}

function seriesOf({ grown, standing }: Figures, facts: GateFacts): readonly Series[] {
  return [
    labelled(
      'sallyport_connects_total',
      'Decisions on CONNECT requests, by outcome code.',
      'outcome',
      grown.connects,
    ),
    labelled(
      'sallyport_would_deny_total',
      'Tunnels that mode report let through and mode enforce would have denied, by outcome code.',
      'outcome',
      grown.wouldDeny,
    ),
    series(
      'sallyport_candidate_differs_total',
      'Attempts that policy.candidate decides otherwise, by what it says and the code of the policy that denies.',
      'counter',
      [
        ...labelledBy({ decision: 'denied' }, 'outcome', grown.candidateDenies),
        ...labelledBy({ decision: 'allowed' }, 'outcome', grown.candidateAllows),
      ],
    ),
    gauge('sallyport_tunnels_active', 'Open tunnels.', standing.tunnels),
    gauge(
      'sallyport_tunnels_revoked',
      'Open tunnels whose host a reload took out of the policy.',
      standing.revoked,
    ),
    labelled(
      'sallyport_tunnel_bytes_total',
      'Bytes relayed: up to the host, down to the client.',
      'direction',
      {
        up: grown.bytesUp,
        down: grown.bytesDown,
      },
    ),
    histogram(
      'sallyport_tunnel_duration_seconds',
      'How long tunnels were open, once closed.',
      TUNNEL_BOUNDS,
      [[{}, grown.tunnelSeconds]],
    ),
    labelled('sallyport_tunnels_closed_total', 'Ends of tunnels, by reason.', 'reason', grown.closed),
    gauge('sallyport_connections_active', 'Connections of clients, tunnels included.', standing.connections),
    gauge('sallyport_connections_limit', 'limits.connections over all workers.', facts.connectionsLimit),
    counter(
      'sallyport_connections_dropped_total',
      'Connections closed unanswered: too many even to refuse, or silent on a TLS listener.',
      grown.dropped,
    ),
    labelled(
      'sallyport_dns_lookups_total',
      'Lookups for tunnels, by the source of the answer.',
      'source',
      grown.lookups,
    ),
    labelled(
      'sallyport_dns_queries_total',
      'Questions asked of the resolvers, by result.',
      'result',
      grown.queries,
    ),
    histogram('sallyport_dns_query_seconds', 'How long resolvers took to answer.', QUERY_BOUNDS, [
      [{}, grown.querySeconds],
    ]),
    gauge('sallyport_dns_cache_entries', 'Answers in the cache, two to a name.', standing.dnsEntries),
    histogram('sallyport_dial_seconds', 'How long connection attempts to hosts took.', DIAL_BOUNDS, [
      [{ result: 'connected' }, grown.dialConnected],
      [{ result: 'failed' }, grown.dialFailed],
    ]),
    labelled(
      'sallyport_audit_records_total',
      'Audit records, by event.action.',
      'action',
      facts.auditRecords,
    ),
    counter('sallyport_audit_lost_total', 'Audit records that an output will never get.', facts.auditLost),
    gauge(
      'sallyport_audit_accepting',
      '0 while records cannot be written and no tunnel opens.',
      facts.auditAccepting,
    ),
    gauge(
      'sallyport_config_reload_success',
      'Whether the last (re)load of the configuration worked.',
      facts.reloadOk,
    ),
    gauge(
      'sallyport_config_reload_timestamp_seconds',
      'When the configuration in force was read.',
      facts.reloadedMs / 1000,
    ),
    series('sallyport_policy_info', 'The policies in force, by rule of clients.rules; always 1.', 'gauge', [
      { labels: infoOf(facts.policy), value: 1 },
      ...facts.clientPolicies.map(({ name, policy }) => ({
        labels: { ...infoOf(policy), client: name },
        value: 1,
      })),
    ]),
    labelled(
      'sallyport_policy_rules',
      'Rules of the common policy.',
      'kind',
      { allow: facts.allowRules, deny: facts.denyRules },
      'gauge',
    ),
    ...(facts.nextExpiryMs === undefined
      ? []
      : [
          gauge(
            'sallyport_policy_next_expiry_timestamp_seconds',
            'When the first rule in force ends.',
            facts.nextExpiryMs / 1000,
          ),
        ]),
    gauge('sallyport_draining', '1 while the gate shuts down.', facts.draining),
    gauge('sallyport_workers', 'Processes that carry tunnels.', facts.workers),
    gauge('sallyport_wire_info', 'The wire that serves; always 1.', 1, { wire: facts.wire }),
    gauge('sallyport_build_info', 'The program; always 1.', 1, { version: facts.version, node: facts.node }),
    counter('process_cpu_user_seconds_total', 'User CPU, all processes.', grown.cpuUserSeconds),
    counter('process_cpu_system_seconds_total', 'System CPU, all processes.', grown.cpuSystemSeconds),
    counter(
      'process_cpu_seconds_total',
      'CPU, all processes.',
      grown.cpuUserSeconds + grown.cpuSystemSeconds,
    ),
    gauge('process_resident_memory_bytes', 'Resident memory, all processes.', standing.residentBytes),
    gauge('process_start_time_seconds', 'When the gate started.', facts.startedMs / 1000),
    gauge('nodejs_heap_size_used_bytes', 'Heap in use, all processes.', standing.heapUsedBytes),
  ]
}

function infoOf({ hash, mode }: PolicyFacts): Value['labels'] {
  return { hash, mode }
}

function series(name: string, help: string, type: Type, values: readonly Value[]): Series {
  return { name, help, type, aggregator: 'sum', values }
}

function counter(name: string, help: string, value: number): Series {
  return series(name, help, 'counter', [{ labels: {}, value }])
}

function gauge(name: string, help: string, value: number | boolean, labels: Value['labels'] = {}): Series {
  return series(name, help, 'gauge', [{ labels, value: Number(value) }])
}

function labelled(name: string, help: string, label: string, counts: Counts, type: Type = 'counter'): Series {
  return series(name, help, type, labelledBy({}, label, counts))
}

function labelledBy(common: Value['labels'], label: string, counts: Counts): readonly Value[] {
  return Object.entries(counts).map(([key, value]) => ({ labels: { ...common, [label]: key }, value }))
}

type Labelled = readonly [labels: Value['labels'], figures: HistogramFigures]

function histogram(name: string, help: string, bounds: readonly number[], all: readonly Labelled[]): Series {
  const values = all.flatMap(([labels, { counts, sum }]): Value[] => {
    let total = 0
    const buckets = counts.map((count, index): Value => {
      total += count
      return {
        labels: { ...labels, le: bounds[index] ?? '+Inf' },
        value: total,
        metricName: `${name}_bucket`,
      }
    })
    return [
      ...buckets,
      { labels, value: sum, metricName: `${name}_sum` },
      { labels, value: total, metricName: `${name}_count` },
    ]
  })
  return series(name, help, 'histogram', values)
}
