/** `/healthz` and `/readyz`. */
import { json, type Reply } from './reply.ts'
import type { AdminServices } from './services.ts'

export interface Check {
  readonly name: string
  readonly ok: boolean
  /** Only said, since it keeps nobody from being served. */
  readonly advisory?: true
  readonly detail: string
}

/** @param toAnybody whether strangers may read it: then without what a reload found wrong */
export function checksOf(
  { view, ledger, config, draining, reloaded }: AdminServices,
  toAnybody = false,
): readonly Check[] {
  const { serving, of } = view.attendance
  const issues = reloaded().failure?.issues
  const stopping = draining()
  return [
    {
      name: 'serving',
      ok: serving > 0 && !stopping,
      detail: stopping
        ? 'draining: the gate shuts down'
        : of === 1
          ? 'listening'
          : `${serving} of ${of} workers`,
    },
    {
      name: 'audit',
      ok: ledger.accepting,
      detail: ledger.accepting
        ? ledger.lost > 0
          ? `records are written; ${ledger.lost} were lost`
          : 'records are written'
        : 'records cannot be written, and no tunnel opens',
    },
    {
      name: 'configuration',
      ok: issues === undefined,
      advisory: true,
      detail:
        issues === undefined
          ? `policy ${config().policy.hash.slice(0, 19)}… is in force`
          : `the last reload failed, the policy stays as it was${toAnybody ? '' : `: ${issues[0] ?? ''}`}`,
    },
  ]
}

export function isReady(checks: readonly Check[]): boolean {
  return checks.every(({ ok, advisory }) => ok || advisory === true)
}

export function health(): Reply {
  return json(200, { status: 'ok' })
}

export function readiness(services: AdminServices): Reply {
  const checks = checksOf(services, services.token !== undefined)
  const ready = isReady(checks)
  return json(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', checks })
}
