/** `/api/status`: the gate at a glance; and the facts that `/metrics` adds to the figures. */
import type { Figures } from '../metrics/figures.ts'
import type { GateFacts } from '../metrics/exposition.ts'
import { nextExpiryMs } from './describe-policy.ts'
import { checksOf, isReady } from './health.ts'
import type { AdminServices } from './services.ts'

export function describeStatus(
  services: AdminServices,
  { grown, standing }: Figures,
): Record<string, unknown> {
  const { config, gate, ledger, version, startedMs, clock } = services
  const { policy, listen } = config()
  const checks = checksOf(services)
  const total = (wanted: (code: string) => boolean): number =>
    Object.entries(grown.connects).reduce((sum, [code, count]) => (wanted(code) ? sum + count : sum), 0)
  return {
    version,
    startedAt: new Date(startedMs).toISOString(),
    configuredAt: new Date(services.reloaded().readMs).toISOString(),
    now: new Date(clock.wallMs()).toISOString(),
    ready: isReady(checks),
    checks,
    listen: gate.endpoints.map(({ address, port }, index) => ({
      address,
      port,
      tls: listen[index]?.tls !== undefined,
    })),
    wire: gate.wire,
    wireFallback: gate.fallback,
    workers: gate.workers,
    mode: policy.mode,
    policy: policy.hash,
    totals: {
      allowed: total((code) => code === 'allowed'),
      refused: total((code) => code !== 'allowed'),
      outcomes: Object.fromEntries(Object.entries(grown.connects).filter(([, count]) => count > 0)),
      bytesUp: grown.bytesUp,
      bytesDown: grown.bytesDown,
      dropped: grown.dropped,
      auditLost: ledger.lost,
    },
    tunnels: standing.tunnels,
    revoked: standing.revoked,
    connections: standing.connections,
    minutes: minutesOf(standing, clock.wallMs()),
  }
}

/** The last sixty minutes, oldest first, also those in which nothing was asked. */
function minutesOf({ minutes }: Figures['standing'], nowMs: number) {
  const now = Math.floor(nowMs / 60_000)
  return Array.from({ length: 60 }, (_, index) => {
    const minute = now - 59 + index
    const { allowed, denied, failed } = minutes[minute] ?? { allowed: 0, denied: 0, failed: 0 }
    return { at: new Date(minute * 60_000).toISOString(), allowed, denied, failed }
  })
}

export function factsForMetrics(services: AdminServices): GateFacts {
  const { view, config, gate, ledger, trail, version, startedMs, draining, reloaded, clock } = services
  const current = config()
  const { policy, clients, limits } = current
  const { failure, readMs } = reloaded()
  return {
    version,
    node: process.version,
    wire: gate.wire,
    workers: view.attendance.serving,
    startedMs,
    draining: draining(),
    connectionsLimit: limits.connections * gate.workers,
    auditAccepting: ledger.accepting,
    auditLost: ledger.lost,
    auditRecords: trail.counts,
    policy,
    clientPolicies: clients.rules.filter((rule) => rule.policy !== policy),
    allowRules: policy.allow.length,
    denyRules: policy.deny.length,
    nextExpiryMs: nextExpiryMs(current, clock.wallMs()),
    reloadOk: failure === undefined,
    reloadedMs: readMs,
  }
}
