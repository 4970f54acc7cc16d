/** Which hosts and ports a packet filter lets out, of the policies in force. Pure. */
import { decide } from '../policy/decide.ts'
import { ruleName, type Policy } from '../policy/rules.ts'

export interface FirewallTargets {
  /** Host to ports. */
  readonly hosts: ReadonlyMap<string, readonly number[]>
  /** Rules that name no single host, so that nobody can look up its addresses beforehand. */
  readonly wildcards: readonly string[]
}

/** What any of the policies allows: packets do not say which client's policy they fall under. */
export function firewallTargets(policies: readonly Policy[], nowMs: number): FirewallTargets {
  const hosts = new Map<string, Set<number>>()
  const wildcards = new Set<string>()
  for (const policy of policies) {
    for (const rule of policy.allow) {
      if (rule.host.kind === 'subdomains') {
        wildcards.add(ruleName(rule))
        continue
      }
      const host = rule.host.hostname
      const port = rule.port ?? 443
      if (decide(policy, { kind: 'name', host, port }, nowMs).kind !== 'allow') continue
      hosts.set(host, (hosts.get(host) ?? new Set()).add(port))
    }
  }
  return { hosts: new Map([...hosts].map(([host, ports]) => [host, [...ports]])), wildcards: [...wildcards] }
}
