/**
 * A policy patch from what was denied, in the configuration's own format: a draft that a person completes. Nothing in it
 * opens a host that nobody has looked at, except the hosts of a preset of the same publisher, which stand as a change
 * of one line. Never a wildcard, never an address, nothing that was tried once.
 */
import { printable } from '../doctor/printable.ts'
import { parseAuthority } from '../policy/authority.ts'
import { decide } from '../policy/decide.ts'
import { formatHostPattern, parseHostPattern } from '../policy/host-pattern.ts'
import { authorityOf } from '../policy/refusal.ts'
import { ruleName, type Policy, type Rule } from '../policy/rules.ts'
import type { ReportedGroup } from './report.ts'
import { counted, formatMinute } from './words.ts'

export interface SuggestContext {
  readonly policy: Policy
  /** Names of the presets in use. */
  readonly presets: readonly string[]
  readonly nowMs: number
}

interface Evidence {
  readonly host: string
  readonly port: number
  readonly group: ReportedGroup
}

export interface Suggestions {
  /** The client meant an allowed target. */
  readonly corrections: readonly (Evidence & { readonly meant: string })[]
  /** Hosts that a preset names which is not in use. */
  readonly presets: ReadonlyMap<string, readonly Evidence[]>
  /** The rule was there, and has expired. */
  readonly expired: readonly (Evidence & { readonly rule: Rule })[]
  readonly allow: readonly (Evidence & { readonly nearby?: string })[]
  /** Groups that were looked at and left out, by why. */
  readonly leftOut: ReadonlyMap<string, number>
}

/** Reasons that another policy would answer. */
const ABOUT_POLICY = new Set(['host_not_allowed', 'port_not_allowed', 'rule_expired'])

export function suggest(groups: readonly ReportedGroup[], { policy, nowMs }: SuggestContext): Suggestions {
  const corrections: (Evidence & { meant: string })[] = []
  const presets = new Map<string, Evidence[]>()
  const expired: (Evidence & { rule: Rule })[] = []
  const allow: (Evidence & { nearby?: string })[] = []
  const leftOut = new Map<string, number>()
  const leave = (why: string): void => {
    leftOut.set(why, (leftOut.get(why) ?? 0) + 1)
  }
  for (const group of groups) {
    const { host, port, reason } = group.fields
    if (!ABOUT_POLICY.has(String(reason))) leave('denied for a reason that no allow rule changes')
    else if (group.expectation.kind === 'expected') leave('expected to be denied')
    else if (group.count < 2) leave('tried only once')
    else if (typeof host !== 'string' || typeof port !== 'number' || !isRuleHost(host))
      leave('no host that a rule can name')
    else {
      // The policy of today decides, not that of the record.
      const decision = decide(policy, parseAuthority(authorityOf({ host, port })), nowMs)
      if (decision.kind === 'allow' || decision.kind === 'prove') {
        leave('allowed by now')
        continue
      }
      const { hint, rule, code } = decision.denial
      const evidence = { host, port, group }
      if (code === 'rule_denied') leave('denied by a deny rule')
      else if (code === 'rule_expired' && rule) expired.push({ ...evidence, rule })
      else if (hint?.kind === 'preset')
        presets.set(hint.value, [...(presets.get(hint.value) ?? []), evidence])
      else if (hint?.kind === 'typo')
        corrections.push({ ...evidence, meant: authorityOf({ host: hint.value, port }) })
      else if (hint?.kind === 'port') corrections.push({ ...evidence, meant: hint.value })
      else allow.push({ ...evidence, ...(hint?.kind === 'nearby' && { nearby: hint.value }) })
    }
  }
  return { corrections, presets, expired, allow, leftOut }
}

/** One exact host in canonical spelling, as an allow rule may name it. */
function isRuleHost(host: string): boolean {
  const parsed = parseHostPattern(host)
  return parsed.ok && parsed.pattern.kind === 'exact' && parsed.pattern.hostname === host
}

export function formatSuggestions(found: Suggestions, { policy, presets, nowMs }: SuggestContext): string {
  const lines = [
    `# Drafted by \`sallyport review --suggest\`, ${formatMinute(nowMs)} UTC. A draft, not a decision: look at each line.`,
    '# `presets` and `allow` keep what your configuration has there, and can replace it. `sallyport validate FILE` checks',
    '# this file as it stands and after each change.',
  ]
  if (found.corrections.length > 0) {
    lines.push('', '# Near misses. Correct the client; the policy needs no change:')
    for (const { meant, ...evidence } of found.corrections)
      lines.push(`#   ${nameOf(evidence)} should be ${meant}: ${evidenceOf(evidence)}`)
  }
  lines.push('', 'policy:')
  for (const [preset, hosts] of found.presets) {
    lines.push(`  # ${preset} names these; \`sallyport presets show ${preset}\` shows what else it allows:`)
    for (const evidence of hosts) lines.push(`  #   ${nameOf(evidence)}: ${evidenceOf(evidence)}`)
  }
  lines.push(`  presets: [${[...presets, ...found.presets.keys()].join(', ')}]`)
  for (const { rule, ...evidence } of found.expired) {
    const owner = rule.owner === undefined ? 'it has no owner' : `ask ${oneLine(rule.owner)}`
    lines.push(`  # ${ruleName(rule)} expired on ${rule.expires}, ${owner}: ${evidenceOf(evidence)}`)
  }
  const kept = policy.allow.filter((rule) => rule.ruleset === 'policy.allow')
  if (kept.length > 0) lines.push('  allow:', ...kept.map((rule) => `    - ${flow(written(rule))}`))
  if (found.allow.length > 0) {
    lines.push(
      '  # To allow one of these, take away the `# ` of its lines and fill in owner, reason and expires.',
    )
    if (kept.length === 0) lines.push('  # allow:')
    for (const { nearby, ...evidence } of found.allow) {
      const beside = nearby === undefined ? '' : `; allowed nearby: ${nearby}`
      lines.push(
        `  #   - host: ${evidence.host} # ${evidenceOf(evidence)}${beside}`,
        `  #     port: ${evidence.port}`,
        '  #     owner: # required: who answers for it',
        '  #     reason: # required: what it is needed for',
        '  #     expires: # required: the last day, such as 2027-06-30',
      )
    }
  }
  if (found.leftOut.size > 0) {
    lines.push('', '# Left out:')
    for (const [why, count] of found.leftOut) lines.push(`#   ${counted(count, 'group')} ${why}`)
  }
  return `${lines.join('\n')}\n`
}

function nameOf({ host, port }: Evidence): string {
  return authorityOf({ host, port })
}

function evidenceOf({ group }: Evidence): string {
  const { count, clients, aClient, first, last } = group
  const who =
    aClient === null ? '' : clients === 1 ? ` (${oneLine(aClient)})` : ` (such as ${oneLine(aClient)})`
  return `${counted(count, 'denial')} from ${counted(clients, 'client')}${who}, ${formatMinute(first)} to ${formatMinute(last)}`
}

function written(rule: Rule): Record<string, unknown> {
  const { host, port, owner, reason, expires, sni } = rule
  return {
    host: formatHostPattern(host),
    port,
    ...(owner !== undefined && { owner }),
    ...(reason !== undefined && { reason }),
    ...(expires !== undefined && { expires }),
    ...(sni !== undefined && { sni }),
  }
}

/** On one line, whatever is in it: texts in quotes are the same in YAML and JSON. */
function flow(fields: Readonly<Record<string, unknown>>): string {
  const written = Object.entries(fields).map(([name, value]) => `${name}: ${JSON.stringify(value)}`)
  return `{ ${written.join(', ')} }`
}

/** What a comment can hold: a line end in a log must not end the comment. */
function oneLine(text: string): string {
  return printable(text, 80)
}
