/** The policies of a configuration: the common one, and those of clients. Pure. */
import type { ClientRule } from '../policy/clients.ts'
import { compilePolicy, coversRule, isExpired, ruleName, type Policy, type Rule } from '../policy/rules.ts'
import { hostsElsewhere, presetRules, type Preset } from '../presets/preset.ts'
import { formatPath, type Path } from './locate.ts'
import type { Settings } from './schema.ts'

/** Takes what is wrong, and where. */
export type Report = (path: Path, message: string, at?: 'key' | 'value') => void

/** The common ones are looked up before the schema is, so that a wrong name is reported with everything else. */
export function checkPresets(
  names: readonly unknown[],
  at: Path,
  presets: readonly Preset[],
  report: Report,
): void {
  for (const [index, name] of names.entries()) {
    // What is no text is the schema's to report.
    if (typeof name !== 'string') continue
    if (names.indexOf(name) !== index) report([...at, index], `\`${name}\` is listed twice`)
    else if (!presets.some((preset) => preset.name === name)) {
      const bundled = presets.map((preset) => preset.name)
      report([...at, index], `no preset \`${name}\`; the bundled ones are ${bundled.join(' and ')}`)
    }
  }
}

/** One policy of the file: the common one, or that of a client. */
export interface PolicySource {
  /** All of it, with what was taken over from the common one. */
  readonly written: WrittenPolicy
  /** What stands at `at` in the file. */
  readonly own: OwnPolicy
  readonly at: Path
  /** How the rulesets of its own rules are called in records. */
  readonly label: string
  /** Rules of the command line. */
  readonly added: readonly Rule[]
}

/** What a policy is made of; the rest under `policy` says how it is replaced. */
type WrittenPolicy = Omit<Settings['policy'], 'onRevoke' | 'candidate'>
type OwnPolicy = Partial<WrittenPolicy> | NonNullable<Settings['clients']['rules'][number]['policy']>

export function buildPolicy(
  { written, own, at, label, added }: PolicySource,
  presets: readonly Preset[],
  nowMs: number,
  report: Report,
): Policy {
  const place = formatPath(at)
  const taken = written.deny.length - (own.deny?.length ?? 0)
  const deny = written.deny.map((rule, index) =>
    toRule(rule, index < taken ? 'policy.deny' : `${label}.deny`),
  )
  const allowed = written.allow.map((rule) => toRule(rule, own.allow ? `${label}.allow` : 'policy.allow'))
  const denying = (rule: Rule): number => deny.findIndex((candidate) => deniesAll(candidate, rule))
  const denyPath = (index: number): Path =>
    index < taken ? ['policy', 'deny', index] : [...at, 'deny', index - taken]
  for (const index of (own.allow ?? []).keys()) {
    const rule = allowed[index]
    const beaten = rule ? denying(rule) : -1
    if (beaten === -1) continue
    const by = formatPath(denyPath(beaten))
    report(
      [...at, 'allow', index],
      `can never apply: ${by} covers it, and deny beats allow; remove one of them`,
    )
  }
  for (const rule of added) {
    const beaten = denying(rule)
    if (beaten !== -1)
      report(denyPath(beaten), `covers \`--allow ${ruleName(rule)}\`, which can then never apply`)
  }
  const used = written.presets.flatMap((name) => presets.filter((preset) => preset.name === name))
  const allow = [...used.flatMap(presetRules), ...allowed, ...added]
  const inForce = allow.filter((rule) => !isExpired(rule, nowMs) && denying(rule) === -1)
  if (allow.length === 0) {
    report(at, `nothing is allowed; name a preset in \`${place}.presets\` or a host in \`${place}.allow\``)
  } else if (inForce.length === 0) {
    report(at, 'nothing is allowed: every rule has expired or is denied by another')
  }
  return compilePolicy({
    mode: written.mode,
    allow,
    deny,
    sni: written.sni,
    ipLiterals: written.ipLiterals,
    elsewhere: hostsElsewhere(presets, written.presets),
  })
}

/** Each client's policy: what it says itself, the rest as in the common one; what that denies is denied to all. */
export function buildClientRules(
  settings: Settings,
  common: PolicySource,
  compiled: Policy,
  presets: readonly Preset[],
  compile: (part: PolicySource) => Policy,
  report: Report,
): readonly ClientRule[] {
  const { policy, clients } = settings
  return clients.rules.map((rule, index) => {
    const at = ['clients', 'rules', index]
    if (clients.rules.findIndex(({ name }) => name === rule.name) !== index) {
      report([...at, 'name'], `\`${rule.name}\` is the name of another rule`)
    }
    if (rule.certificates && !settings.listen.some(({ tls }) => tls?.clientCa !== undefined)) {
      report([...at, 'certificates'], 'needs a listener with `tls: { cert, key, clientCa }`')
    }
    if (rule.users && clients.passwords === null) {
      report([...at, 'users'], 'needs a file of passwords; name it in `clients.passwords`')
    }
    const { policy: own, name, from, users, certificates } = rule
    if (own?.presets) checkPresets(own.presets, [...at, 'policy', 'presets'], presets, report)
    const written = {
      mode: own?.mode ?? policy.mode,
      presets: own?.presets ?? policy.presets,
      allow: own?.allow ?? policy.allow,
      deny: [...policy.deny, ...(own?.deny ?? [])],
      sni: own?.sni ?? policy.sni,
      ipLiterals: own?.ipLiterals ?? policy.ipLiterals,
    }
    const added = own?.allow ? [] : common.added
    return {
      name,
      from,
      users,
      certificates,
      policy: own
        ? compile({ written, own, at: [...at, 'policy'], label: `clients.${name}`, added })
        : compiled,
    }
  })
}

function deniesAll(denying: Rule, allowing: Rule): boolean {
  return denying.expires === undefined && coversRule(denying, allowing)
}

type WrittenRule = Settings['policy']['allow'][number] | Settings['policy']['deny'][number]

function toRule(written: WrittenRule, ruleset: string): Rule {
  const { host, port, owner, reason, expires } = written
  return {
    host,
    port,
    ruleset,
    ...(owner !== undefined && { owner }),
    ...(reason !== undefined && { reason }),
    ...(expires !== undefined && { expires }),
    ...('sni' in written && written.sni !== undefined && { sni: written.sni }),
  }
}
