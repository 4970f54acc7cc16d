/** What `sallyport firewall nftables`, its watch, and the gate's own filter share. */
import { Resolver } from 'node:dns'
import { systemClock } from '../clock.ts'
import { policiesOf, type Config } from '../config/load.ts'
import type { FirewallConfig } from '../config/schema.ts'
import { createQuery } from '../dns/query.ts'
import type { Keeper } from '../firewall/keeper.ts'
import { lookUp, type HostAddresses } from '../firewall/look-up.ts'
import { parseServer, type Ruleset } from '../firewall/ruleset.ts'
import { createGuard } from '../proxy/guard.ts'

/** How often a keeper looks whether its table is still there, and of the resolvers that the system has. */
const MEND_EVERY_MS = 15_000

/**
 * Rules are flushed by others now and then, such as when the system's own ruleset is loaded anew; and the system gets
 * other resolvers, such as with another network.
 */
export function mendNowAndThen(
  keeper: Keeper,
  ruleset: () => Ruleset,
  say: (text: string) => void,
): () => void {
  let broken = false
  const timer = setInterval(() => {
    const [before, now] = [keeper.ruleset, ruleset()]
    keeper.mend(now).then(
      (mended) => {
        broken = false
        if (!mended) return
        if (now.servers.join() === before.servers.join())
          say(`the table inet ${now.table} was gone or changed by another; it is back`)
        else {
          say(`the system has other resolvers, which may be asked now: ${now.servers.join(', ')}`)
          for (const notice of noticesFor(now)) say(notice)
        }
      },
      (error: unknown) => {
        if (!broken) say(error instanceof Error ? error.message : String(error))
        broken = true
      },
    )
  }, MEND_EVERY_MS)
  return () => clearInterval(timer)
}

export function rulesetOf(config: Config, { resolvers, ...settings }: FirewallConfig): Ruleset {
  // A new one reads what the system has now, as each question does; the default one has what was there at the start.
  const asked = config.dns.servers.length > 0 ? config.dns.servers : new Resolver().getServers()
  const policy = policiesOf(config)
    .map(({ hash }) => hash)
    .join(' ')
  return { ...settings, servers: [...new Set([...asked, ...resolvers])], policy }
}

/** A resolver on this machine passes questions on, and its packets are filtered like all others. */
export function noticesFor({ users, interfaces, servers }: Ruleset): readonly string[] {
  const local = servers.filter((server) => /^(?:127\.|::1$)/.test(parseServer(server).address))
  if (users.length > 0 || interfaces.length > 0 || local.length < servers.length) return []
  return [
    `the resolver ${local.join(', ')} is on this machine; name the servers that it asks itself with firewall.resolvers or --resolver, or no name can be resolved`,
  ]
}

export type LookUp = (host: string, ports: readonly number[]) => Promise<HostAddresses>

export function lookUpFor(config: Config): LookUp {
  const query = createQuery(config.dns)
  const guard = createGuard({
    allow: config.addresses.allow,
    clock: systemClock,
    listeners: () => config.listen.map(({ host, port }) => ({ address: host, port })),
  })
  const options = { query, guard, staticHosts: config.dns.hosts, maxTtlMs: config.dns.maxTtlMs }
  return (host, ports) => lookUp(host, ports, options)
}

export async function lookUpAll(
  hosts: ReadonlyMap<string, readonly number[]>,
  look: LookUp,
): Promise<ReadonlyMap<string, HostAddresses>> {
  const found = new Map<string, HostAddresses>()
  await Promise.all([...hosts].map(async ([host, ports]) => found.set(host, await look(host, ports))))
  return found
}

/** What nobody can look up beforehand. */
export function wildcardNotices(wildcards: readonly string[]): readonly string[] {
  return wildcards.map(
    (rule) =>
      `${rule}: nobody can list its hosts; only the gate itself (firewall: nftables) lets them in, as it dials them`,
  )
}
