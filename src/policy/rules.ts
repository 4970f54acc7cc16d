/**
 * Rules, and the immutable policy compiled from them. A policy is built once and swapped whole; its hash names it
 * on every audit record.
 */
import { createHash } from 'node:crypto'
import { coversPattern, formatHostPattern, type HostPattern } from './host-pattern.ts'

/** Whether the ClientHello must name the CONNECT host. */
export type SniCheck = 'require' | 'off'

export interface Rule {
  readonly host: HostPattern
  /** The one port; `undefined` (deny rules only) means every port. */
  readonly port: number | undefined
  /** Where it comes from: a preset's name, `policy.allow`, `policy.deny` or `--allow`. */
  readonly ruleset: string
  readonly owner?: string
  readonly reason?: string
  /** The last day (UTC, `YYYY-MM-DD`) on which the rule applies. */
  readonly expires?: string
  /** An exception from the policy's `sni`, for what this rule allows. */
  readonly sni?: SniCheck
}

/** A host of a preset that is not in use, for the hint "it is in preset …". */
export interface PresetHost {
  readonly hostname: string
  readonly port: number
  readonly preset: string
}

export type PolicyMode = 'enforce' | 'report'
/** What becomes of a CONNECT to an IP address: denied, or opened when the ClientHello names an allowed host of it. */
export type IpLiterals = 'deny' | 'verify-sni'

export interface PolicySource {
  readonly mode: PolicyMode
  readonly allow: readonly Rule[]
  readonly deny: readonly Rule[]
  /** Default `require`. */
  readonly sni?: SniCheck
  /** Default `deny`. */
  readonly ipLiterals?: IpLiterals
  /** Hosts of bundled presets that this policy does not use, oldest preset first. */
  readonly elsewhere?: readonly PresetHost[]
}

export interface Policy extends Required<PolicySource> {
  readonly allowIndex: RuleIndex
  readonly denyIndex: RuleIndex
  /** `sha256:…` over mode, checks and rules: equal policies have equal hashes, whatever the order of their rules. */
  readonly hash: string
}

/** Rules by host: exact names, and apexes of wildcards. Maps, so that no name of a client is ever a property. */
export interface RuleIndex {
  readonly exact: ReadonlyMap<string, readonly Rule[]>
  readonly subdomains: ReadonlyMap<string, readonly Rule[]>
}

export function compilePolicy(source: PolicySource): Policy {
  return Object.freeze({
    mode: source.mode,
    allow: source.allow,
    deny: source.deny,
    sni: source.sni ?? 'require',
    ipLiterals: source.ipLiterals ?? 'deny',
    elsewhere: source.elsewhere ?? [],
    // Of two rules for the same host, the one that states an exception is found first: it is meant to apply.
    allowIndex: indexRules(
      source.allow.toSorted((a, b) => Number(b.sni !== undefined) - Number(a.sni !== undefined)),
    ),
    denyIndex: indexRules(source.deny),
    hash: hashPolicy(source),
  })
}

/** The rule as people name it: `cgr.dev:443`, `*.example.com:443`; a deny rule for every port has no port. */
export function ruleName(rule: Rule): string {
  const host = formatHostPattern(rule.host)
  return rule.port === undefined ? host : `${host}:${rule.port}`
}

/** Whether `outer` names everything that `inner` names. */
export function coversRule(outer: Rule, inner: Rule): boolean {
  return (outer.port === undefined || outer.port === inner.port) && coversPattern(outer.host, inner.host)
}

/** Whether what a rule allows is checked for its server name; `undefined`: no rule, as in mode report. */
export function sniCheckOf(policy: Policy, rule: Rule | undefined): SniCheck {
  return rule?.sni ?? policy.sni
}

const DAY_MS = 86_400_000

/** Whether the rule's last day is over. A rule without `expires` never expires. */
export function isExpired(rule: Rule, nowMs: number): boolean {
  return rule.expires !== undefined && nowMs >= Date.parse(`${rule.expires}T00:00:00Z`) + DAY_MS
}

function indexRules(rules: readonly Rule[]): RuleIndex {
  const exact = new Map<string, Rule[]>()
  const subdomains = new Map<string, Rule[]>()
  for (const rule of rules) {
    const [index, key] =
      rule.host.kind === 'exact'
        ? ([exact, rule.host.hostname] as const)
        : ([subdomains, rule.host.apex] as const)
    const listed = index.get(key)
    if (listed) listed.push(rule)
    else index.set(key, [rule])
  }
  return { exact, subdomains }
}

function hashPolicy(source: PolicySource): string {
  const line = (rule: Rule): string =>
    JSON.stringify([
      ruleName(rule),
      rule.ruleset,
      rule.owner ?? null,
      rule.reason ?? null,
      rule.expires ?? null,
      rule.sni ?? null,
    ])
  const canonical = JSON.stringify([
    source.mode,
    source.sni ?? 'require',
    source.ipLiterals ?? 'deny',
    source.allow.map(line).toSorted(),
    source.deny.map(line).toSorted(),
  ])
  return `sha256:${createHash('sha256').update(canonical).digest('hex')}`
}
