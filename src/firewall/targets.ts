/** Which hosts and ports a packet filter lets out, of the policies in force. Pure. */
import { decide } from '../policy/decide.ts'
import type { Hostname } from '../policy/hostname.ts'
import { ruleName, type Policy } from '../policy/rules.ts'

export type HostPorts = ReadonlyMap<Hostname, readonly number[]>

export interface FirewallTargets {
  readonly hosts: HostPorts
  /** Rules that name no single host, so that nobody can look up its addresses beforehand. */
  readonly wildcards: readonly string[]
}

/** What any of the policies allows: packets do not say which client's policy they fall under. */
export function firewallTargets(policies: readonly Policy[], nowMs: number): FirewallTargets {
  const { hosts, wildcards } = namedHosts(policies)
  return { hosts: allowedNow(policies, hosts, nowMs), wildcards }
}

/** What the rules that allow something name, whether or not they do now. */
export function namedHosts(policies: readonly Policy[]): FirewallTargets {
  const hosts = new Map<Hostname, Set<number>>()
  const wildcards = new Set<string>()
  for (const rule of policies.flatMap(({ allow }) => allow)) {
    if (rule.host.kind === 'subdomains') wildcards.add(ruleName(rule))
    else {
      const { hostname } = rule.host
      hosts.set(hostname, (hosts.get(hostname) ?? new Set()).add(rule.port ?? 443))
    }
  }
  return { hosts: new Map([...hosts].map(([host, ports]) => [host, [...ports]])), wildcards: [...wildcards] }
}

/** Of these, what some policy allows at this moment. */
export function allowedNow(policies: readonly Policy[], hosts: HostPorts, nowMs: number): HostPorts {
  return new Map(
    [...hosts].flatMap(([host, ports]) => {
      const open = portsNow(policies, host, ports, nowMs)
      return open.length > 0 ? [[host, open] as const] : []
    }),
  )
}

/** Rules expire, those that deny as well. */
export function portsNow(
  policies: readonly Policy[],
  host: Hostname,
  ports: readonly number[],
  nowMs: number,
): readonly number[] {
  return ports.filter((port) =>
    policies.some((policy) => decide(policy, { kind: 'name', host, port }, nowMs).kind === 'allow'),
  )
}
