/**
 * A policy patch from what was denied, in the configuration's own format: a draft that a person completes. Nothing in it
 * opens a host that nobody has looked at, except the hosts of a preset of the same publisher, which stand as a change
 * of one line. Never a wildcard, never an address, nothing that was tried once.
 */
import { printable } from '../doctor/printable.ts'
import { parseAuthority } from '../policy/authority.ts'
import type { ClientRule } from '../policy/clients.ts'
import { decide } from '../policy/decide.ts'
import { formatHostPattern, parseHostPattern } from '../policy/host-pattern.ts'
import { authorityOf } from '../policy/refusal.ts'
import { ruleName, type Policy, type Rule } from '../policy/rules.ts'
import type { ReportedGroup } from './report.ts'
import { counted, formatCount, formatMinute } from './words.ts'

export interface SuggestContext {
  readonly policy: Policy
  /** Clients that may have a policy of their own. */
  readonly rules: readonly Pick<ClientRule, 'name' | 'policy'>[]
  /** Names of the presets in use. */
  readonly presets: readonly string[]
  readonly nowMs: number
}

interface Evidence {
  readonly host: string
  readonly port: number
  readonly group: ReportedGroup
  /** Of the group's denials, those by the policy in question. */
  readonly count: number
}

/** What could be done about the denials of one policy. */
class Draft {
  /** The client meant an allowed target. */
  readonly corrections: (Evidence & { readonly meant: string })[] = []
  /** Hosts that a preset names which is not in use. */
  readonly presets = new Map<string, Evidence[]>()
  /** The rule was there, and has expired. */
  readonly expired: (Evidence & { readonly rule: Rule })[] = []
  readonly allow: (Evidence & { readonly nearby?: string })[] = []
}

export interface Suggestions {
  /** For the common policy. */
  readonly common: Draft
  /** For those of `clients.rules`, by name. */
  readonly clients: ReadonlyMap<string, Draft>
  /** Groups that were looked at and left out, by why. */
  readonly leftOut: ReadonlyMap<string, number>
}

/** Reasons that another policy would answer. */
const ABOUT_POLICY = new Set(['host_not_allowed', 'port_not_allowed', 'rule_expired'])

export function suggest(groups: readonly ReportedGroup[], context: SuggestContext): Suggestions {
  const { policy: common, rules, nowMs } = context
  const drafts = new Map<string | null | undefined, Draft>()
  const leftOut = new Map<string, number>()
  const leave = (why: string): void => {
    leftOut.set(why, (leftOut.get(why) ?? 0) + 1)
  }
  for (const group of groups) {
    for (const [name, count] of countsByPolicy(group, context)) {
      const policy = name === null ? common : rules.find((rule) => rule.name === name)?.policy
      const { host, port, reason } = group.fields
      if (!ABOUT_POLICY.has(String(reason))) leave('denied for a reason that no allow rule changes')
      else if (group.expectation.kind === 'expected') leave('expected to be denied')
      else if (count < 2) leave('tried only once')
      else if (typeof host !== 'string' || typeof port !== 'number' || !isRuleHost(host))
        leave('no host that a rule can name')
      else if (!policy) leave('denied by a policy of `clients.rules` that the configuration does not have')
      else {
        const draft = drafts.get(name) ?? new Draft()
        const why = consider(draft, { host, port, group, count }, policy, nowMs)
        if (why === undefined) drafts.set(name, draft)
        else leave(why)
      }
    }
  }
  return {
    common: drafts.get(null) ?? new Draft(),
    clients: new Map(
      rules.flatMap(({ name }) => {
        const draft = drafts.get(name)
        return draft ? [[name, draft]] : []
      }),
    ),
    leftOut,
  }
}

/** The denials of a group by whose policy it was; null is the common one, which entries without their own have, too. */
function countsByPolicy(
  { count, byRule }: ReportedGroup,
  { policy, rules }: SuggestContext,
): ReadonlyMap<string | null | undefined, number> {
  const shared = new Set(rules.filter((rule) => rule.policy === policy).map(({ name }) => name))
  const counts = new Map<string | null | undefined, number>([[null, count]])
  for (const [name, some] of byRule) {
    if (name !== undefined && shared.has(name)) continue
    counts.set(name, some)
    counts.set(null, (counts.get(null) ?? 0) - some)
  }
  if (counts.get(null) === 0) counts.delete(null)
  return counts
}

/** Puts it where it belongs, or says why nowhere. The policy of today decides, not that of the record. */
function consider(draft: Draft, evidence: Evidence, policy: Policy, nowMs: number): string | undefined {
  const { host, port } = evidence
  const decision = decide(policy, parseAuthority(authorityOf({ host, port })), nowMs)
  if (decision.kind === 'allow' || decision.kind === 'prove') return 'allowed by now'
  const { hint, rule, code } = decision.denial
  if (code === 'rule_denied') return 'denied by a deny rule'
  if (code === 'rule_expired' && rule) draft.expired.push({ ...evidence, rule })
  else if (hint?.kind === 'preset')
    draft.presets.set(hint.value, [...(draft.presets.get(hint.value) ?? []), evidence])
  else if (hint?.kind === 'typo')
    draft.corrections.push({ ...evidence, meant: authorityOf({ host: hint.value, port }) })
  else if (hint?.kind === 'port') draft.corrections.push({ ...evidence, meant: hint.value })
  else draft.allow.push({ ...evidence, ...(hint?.kind === 'nearby' && { nearby: hint.value }) })
  return undefined
}

/** One exact host in canonical spelling, as an allow rule may name it. */
function isRuleHost(host: string): boolean {
  const parsed = parseHostPattern(host)
  return parsed.ok && parsed.pattern.kind === 'exact' && parsed.pattern.hostname === host
}

export function formatSuggestions(found: Suggestions, { policy, presets, nowMs }: SuggestContext): string {
  const { common } = found
  const lines = [
    `# Drafted by \`sallyport review --suggest\`, ${formatMinute(nowMs)} UTC. A draft, not a decision: look at each line.`,
    '# `presets` and `allow` keep what your configuration has there, and can replace it. `sallyport validate FILE` checks',
    '# this file as it stands and after each change.',
  ]
  if (common.corrections.length > 0) {
    lines.push('', '# Near misses. Correct the client; the policy needs no change:', ...corrected(common))
  }
  lines.push('', 'policy:')
  for (const [preset, hosts] of common.presets) lines.push(...inPreset(preset, hosts).map(indent))
  lines.push(`  presets: [${[...presets, ...common.presets.keys()].join(', ')}]`)
  lines.push(...expiredRules(common).map(indent))
  const kept = policy.allow.filter((rule) => rule.ruleset === 'policy.allow')
  if (kept.length > 0) lines.push('  allow:', ...kept.map((rule) => `    - ${flow(written(rule))}`))
  if (common.allow.length > 0) {
    lines.push(
      '  # To allow one of these, take away the `# ` of its lines and fill in owner, reason and expires.',
    )
    if (kept.length === 0) lines.push('  # allow:')
    lines.push(...entries(common).map(indent))
  }
  for (const [name, draft] of found.clients) {
    lines.push(
      '',
      `# For the \`policy\` of \`${oneLine(name)}\` in \`clients.rules\`, under which its clients were denied:`,
    )
    lines.push(
      ...corrected(draft),
      ...[...draft.presets].flatMap(([preset, hosts]) => inPreset(preset, hosts)),
    )
    lines.push(...expiredRules(draft), ...entries(draft))
  }
  if (found.leftOut.size > 0) {
    lines.push('', '# Left out:')
    for (const [why, count] of found.leftOut) lines.push(`#   ${counted(count, 'group')} ${why}`)
  }
  return `${lines.join('\n')}\n`
}

const indent = (line: string): string => `  ${line}`

function corrected({ corrections }: Draft): readonly string[] {
  return corrections.map(
    ({ meant, ...evidence }) => `#   ${nameOf(evidence)} should be ${meant}: ${evidenceOf(evidence)}`,
  )
}

function inPreset(preset: string, hosts: readonly Evidence[]): readonly string[] {
  return [
    `# ${preset} names these; \`sallyport presets show ${preset}\` shows what else it allows:`,
    ...hosts.map((evidence) => `#   ${nameOf(evidence)}: ${evidenceOf(evidence)}`),
  ]
}

function expiredRules({ expired }: Draft): readonly string[] {
  return expired.map(({ rule, ...evidence }) => {
    const owner = rule.owner === undefined ? 'it has no owner' : `ask ${oneLine(rule.owner)}`
    return `# ${ruleName(rule)} expired on ${rule.expires}, ${owner}: ${evidenceOf(evidence)}`
  })
}

/** Entries of an allow list, in a comment. */
function entries({ allow }: Draft): readonly string[] {
  return allow.flatMap(({ nearby, ...evidence }) => {
    const beside = nearby === undefined ? '' : `; allowed nearby: ${nearby}`
    return [
      `#   - host: ${evidence.host} # ${evidenceOf(evidence)}${beside}`,
      `#     port: ${evidence.port}`,
      '#     owner: # required: who answers for it',
      '#     reason: # required: what it is needed for',
      '#     expires: # required: the last day, such as 2027-06-30',
    ]
  })
}

function nameOf({ host, port }: Pick<Evidence, 'host' | 'port'>): string {
  return authorityOf({ host, port })
}

function evidenceOf({ group, count }: Pick<Evidence, 'group' | 'count'>): string {
  const { clients, aClient, first, last } = group
  const who =
    aClient === null ? '' : clients === 1 ? ` (${oneLine(aClient)})` : ` (such as ${oneLine(aClient)})`
  const what = counted(group.count, 'denial')
  const some = count === group.count ? what : `${formatCount(count)} of ${what}`
  return `${some} from ${counted(clients, 'client')}${who}, ${formatMinute(first)} to ${formatMinute(last)}`
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
