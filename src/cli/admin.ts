/** Opens the admin listener of a running gate. */
import type { AdminServer } from '../admin/server.ts'
import type { AdminServices } from '../admin/services.ts'
import type { Journal } from '../audit/journal.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { formatListenAddress } from '../config/units.ts'
import { explainTarget } from '../policy/explain.ts'
import type { AdminToken } from './admin-token.ts'
import { findClient } from './find-client.ts'
import type { RunningGate } from './running-gate.ts'
import { readVersion } from './version.ts'

export interface AdminOptions extends Pick<
  AdminServices,
  'config' | 'configFile' | 'trail' | 'draining' | 'reloaded' | 'reload'
> {
  readonly gate: RunningGate
  readonly journal: Journal
  readonly token: AdminToken
}

/**
 * Takes the address before the gate listens, so that everything is right when it does. Nothing where none is wanted, or
 * where the usual address is taken and no other was chosen.
 */
export async function openAdmin(
  { admin }: Config,
  say: (text: string) => void,
): Promise<AdminServer | undefined | 'failed'> {
  if (admin.listen === null) return undefined
  const { AdminServer } = await import('../admin/server.ts')
  try {
    return await AdminServer.listen(admin.listen)
  } catch (error) {
    const where = formatListenAddress(admin.listen)
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EADDRINUSE' && !admin.chosen) {
      say(
        `${where} is in use, so this gate has no health, metrics and dashboard; set admin.listen, or to null`,
      )
      return undefined
    }
    const why =
      code === 'EADDRINUSE' ? 'the port is in use' : error instanceof Error ? error.message : String(error)
    say(`cannot listen on admin.listen ${where}: ${why}; nothing listens`)
    return 'failed'
  }
}

/** What the admin listener of a running gate works with. */
export function adminServices({ gate, journal, token, ...rest }: AdminOptions): AdminServices {
  const { admin } = rest.config()
  return {
    ...rest,
    view: gate.view,
    gate,
    ledger: journal.ledger,
    clock: systemClock,
    version: readVersion(),
    startedMs: Date.now(),
    explain: (target, client) => explainTo(rest.config(), target, client),
    get token() {
      return token.current
    },
    hosts: admin.hosts,
  }
}

/** As `sallyport explain --json` says it. */
function explainTo(config: Config, text: string, client: string | undefined): Record<string, unknown> {
  const found = findClient(config, client)
  if (found.kind === 'unknown')
    return { error: found.verdict.replace(/^sallyport: --/, ''), code: 'bad_query' }
  if (found.kind === 'refused') return { decision: 'deny', ...found.facts, steps: [], verdict: found.verdict }
  const { facts, ...explained } = explainTarget(found.policy, text, Date.now())
  return { ...explained, ...found.facts, ...facts, policy: found.policy.hash, mode: found.policy.mode }
}
