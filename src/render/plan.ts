/**
 * What a rendering is made of: the rules in force on one day, freed of everything that only the gate itself needs.
 * Pure, as all of render/: a policy and a date in, text out.
 */
import { coversPattern, type HostPattern } from '../policy/host-pattern.ts'
import { isExpired, ruleName, type Policy, type PolicyMode, type Rule } from '../policy/rules.ts'

/** One host and port that may be reached. */
export interface Allowance {
  readonly host: HostPattern
  readonly port: number
  /** Every rule that allows it; the first one that the policy has is first. */
  readonly rules: readonly [Rule, ...Rule[]]
  /** Whether the ClientHello has to name the host. */
  readonly sni: 'require' | 'off'
}

/** A host that is denied inside an allowed wildcard; other deny rules have already taken their hosts away. */
export interface Exception {
  readonly host: HostPattern
  readonly port: number
  readonly rule: Rule
}

export interface Plan {
  /** `sha256:…`, as on every audit record. */
  readonly hash: string
  /** The day of the rendering (UTC, `YYYY-MM-DD`); rules that have expired by then are left out. */
  readonly date: string
  /** The configuration file, as its user calls it. */
  readonly source: string
  readonly mode: PolicyMode
  /** Sorted by host, then by port; never empty. */
  readonly allow: readonly Allowance[]
  readonly exceptions: readonly Exception[]
  /** Addresses of `dns.servers` with their ports; empty: the system's. */
  readonly resolvers: readonly { readonly address: string; readonly port: number }[]
  /** Blocks of `addresses.allow`. */
  readonly permittedBlocks: readonly string[]
  /** Names of `clients.rules` that have a policy of their own, which this rendering is not about. */
  readonly otherPolicies: readonly string[]
}

export interface PlanSource {
  readonly policy: Policy
  readonly source: string
  readonly nowMs: number
  readonly dnsServers: readonly string[]
  readonly permittedBlocks: readonly string[]
  readonly otherPolicies: readonly string[]
}

export function makePlan({ policy, source, nowMs, dnsServers, ...rest }: PlanSource): Plan {
  const denials = policy.deny.filter((rule) => !isExpired(rule, nowMs))
  const byName = new Map<string, Allowance>()
  for (const rule of policy.allow) {
    const { host, port } = rule
    if (port === undefined || isExpired(rule, nowMs)) continue
    if (denials.some((denial) => isOnPort(denial, port) && coversPattern(denial.host, host))) continue
    const known = byName.get(ruleName(rule))
    byName.set(ruleName(rule), {
      host,
      port,
      rules: known ? [...known.rules, rule] : [rule],
      // As the gate has it: of two rules for a host, the one that states an exception applies.
      sni: known?.sni === 'off' ? 'off' : (rule.sni ?? policy.sni),
    })
  }
  const allow = [...byName.values()].toSorted(
    (a, b) => nameOf(a).localeCompare(nameOf(b), 'en') || a.port - b.port,
  )
  const exceptions = denials.flatMap((rule) => {
    const ports = allow.filter(({ host, port }) => isOnPort(rule, port) && coversPattern(host, rule.host))
    return [...new Set(ports.map(({ port }) => port))].map((port) => ({ host: rule.host, port, rule }))
  })
  return {
    hash: policy.hash,
    date: new Date(nowMs).toISOString().slice(0, 10),
    source,
    mode: policy.mode,
    allow,
    exceptions,
    resolvers: dnsServers.map(splitServer),
    ...rest,
  }
}

/** `cgr.dev`, `*.example.com`. */
export function nameOf({ host }: { readonly host: HostPattern }): string {
  return host.kind === 'exact' ? host.hostname : `*.${host.apex}`
}

/** The ports that the plan uses, ascending. */
export function portsOf({ allow }: Plan): readonly number[] {
  return [...new Set(allow.map(({ port }) => port))].toSorted((a, b) => a - b)
}

export function onPort<T extends { readonly port: number }>(items: readonly T[], port: number): readonly T[] {
  return items.filter((item) => item.port === port)
}

function isOnPort(denial: Rule, port: number): boolean {
  return denial.port === undefined || denial.port === port
}

/** `10.0.0.53`, `127.0.0.1:5353`, `[::1]:5353`, `::1`. */
function splitServer(text: string): { address: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::([0-9]+))?$/.exec(text)
  return match
    ? { address: match[1] ?? match[2] ?? text, port: Number(match[3] ?? 53) }
    : { address: text, port: 53 }
}
