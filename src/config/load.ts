/**
 * From the text of a configuration file to one frozen Config, or to every issue at once, each with its line and
 * column. Pure: the caller reads the file and brings the presets.
 */
import { isMap, isScalar, LineCounter, parseDocument, type Document } from 'yaml'
import { findBadAlias } from './aliases.ts'
import { coversPattern, matchesHost, parseHostPattern } from '../policy/host-pattern.ts'
import { compilePolicy, isExpired, ruleName, type Policy, type Rule } from '../policy/rules.ts'
import { hostsElsewhere, presetRules, type Preset } from '../presets/preset.ts'
import { describe } from './describe.ts'
import type { ConfigIssue } from './issue.ts'
import { formatPath, locate, type Path } from './locate.ts'
import { configSchema, presetNames, type Settings } from './schema.ts'
import { parseListenAddress } from './units.ts'

/** The whole configuration, frozen; `policy` is compiled, the rest is as in the file with defaults filled in. */
export type Config = Readonly<Omit<Settings, 'policy'>> & {
  readonly policy: Policy
  readonly sni: Settings['policy']['sni']
  readonly presets: readonly string[]
}

export interface ConfigOverrides {
  /** `--listen ADDR`: replaces `listen`. */
  readonly listen?: string
  /** `--allow HOST`: each adds an allow rule on port 443. */
  readonly allow?: readonly string[]
}

export interface ConfigSource {
  readonly text: string
  /** How the file is called in issues. */
  readonly name: string
  readonly presets: readonly Preset[]
  readonly overrides?: ConfigOverrides
  /** Wall clock, milliseconds since the epoch: which rules have expired. */
  readonly nowMs: number
}

export type ConfigResult =
  /** `notices` are worth saying once at the start; nothing is wrong. */
  | { readonly ok: true; readonly config: Config; readonly notices: readonly string[] }
  | { readonly ok: false; readonly issues: readonly ConfigIssue[] }

type Report = (path: Path, message: string, at?: 'key' | 'value') => void

export function loadConfig(source: ConfigSource): ConfigResult {
  const lines = new LineCounter()
  const document = parseDocument(source.text, { lineCounter: lines, prettyErrors: false, stringKeys: true })
  const issues: ConfigIssue[] = []
  const place = (offset: number): Pick<ConfigIssue, 'line' | 'column'> => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  for (const { pos, code, message } of [...document.errors, ...document.warnings]) {
    const words =
      code === 'MULTIPLE_DOCS'
        ? 'a second document starts here; a configuration is one, so remove the `---`'
        : message
    issues.push({ source: source.name, ...place(pos[0]), path: '', message: words })
  }
  if (issues.length > 0) return { ok: false, issues }

  const report: Report = (path, message, at = 'value') => {
    const offset = locate(document, path, at)
    issues.push({ source: source.name, ...place(offset), path: formatPath(path), message })
  }
  if (!isMap(document.contents)) {
    const empty =
      document.contents === null || (isScalar(document.contents) && document.contents.value === null)
    report(
      [],
      empty
        ? 'the file is empty; start from the commented default, config/sallyport.yaml'
        : 'expected keys such as `listen:` and `policy:`',
    )
    return { ok: false, issues }
  }

  const badAlias = findBadAlias(document)
  if (badAlias) {
    issues.push({ source: source.name, ...place(badAlias.offset), path: '', message: badAlias.message })
    return { ok: false, issues }
  }
  const written: unknown = document.toJS()
  const used = findPresets(written, source.presets, report)
  const result = configSchema.safeParse(written, { reportInput: true })
  if (!result.success) {
    for (const issue of result.error.issues) {
      for (const { path, message, at } of describe(issue)) report(path, message, at)
    }
  }
  const overrides = parseOverrides(source.overrides ?? {}, issues)
  if (!result.success) return { ok: false, issues: byPlace(issues) }

  const settings = result.data
  const policy = buildPolicy(settings, used, source.presets, overrides.allow, source.nowMs, report)
  if (!settings.audit.stdout && !settings.audit.file) {
    report(['audit', 'stdout'], 'records would go nowhere; turn on `audit.stdout`, or name an `audit.file`')
  }
  if (issues.length > 0) return { ok: false, issues: byPlace(issues) }
  const { policy: writtenPolicy, ...rest } = settings
  const config: Config = {
    ...rest,
    ...overrides.listen,
    policy,
    sni: writtenPolicy.sni,
    presets: writtenPolicy.presets,
  }
  return { ok: true, config: deepFreeze(config), notices: noticesFor(config, document, source.nowMs) }
}

function parseOverrides(
  overrides: ConfigOverrides,
  issues: ConfigIssue[],
): { listen: Pick<Settings, 'listen'> | undefined; allow: readonly Rule[] } {
  let listen: Pick<Settings, 'listen'> | undefined
  if (overrides.listen !== undefined) {
    const address = parseListenAddress(overrides.listen)
    if (address) listen = { listen: [address] }
    else
      issues.push({
        source: '--listen',
        path: '',
        message: `expected an address such as \`127.0.0.1:3128\`, found \`${overrides.listen}\``,
      })
  }
  const allow = (overrides.allow ?? []).flatMap((text): Rule[] => {
    const result = parseHostPattern(text)
    if (result.ok) return [{ host: result.pattern, port: 443, ruleset: '--allow' }]
    issues.push({ source: '--allow', path: '', message: `\`${text}\`: ${result.problem}; ${result.advice}` })
    return []
  })
  return { listen, allow }
}

/** Looked up before the schema is, so that a wrong name is reported together with everything else. */
function findPresets(written: unknown, presets: readonly Preset[], report: Report): readonly Preset[] {
  const names = presetNames.safeParse(written).data?.policy.presets ?? []
  return names.flatMap((name, index): Preset[] => {
    // What is no text is the schema's to report.
    if (typeof name !== 'string') return []
    if (names.indexOf(name) !== index) {
      report(['policy', 'presets', index], `\`${name}\` is listed twice`)
      return []
    }
    const preset = presets.find((candidate) => candidate.name === name)
    if (preset) return [preset]
    const bundled = presets.map((candidate) => candidate.name)
    report(
      ['policy', 'presets', index],
      `no preset \`${name}\`; the bundled ones are ${bundled.join(' and ')}`,
    )
    return []
  })
}

function byPlace(issues: readonly ConfigIssue[]): readonly ConfigIssue[] {
  return issues.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
}

function buildPolicy(
  settings: Settings,
  used: readonly Preset[],
  presets: readonly Preset[],
  added: readonly Rule[],
  nowMs: number,
  report: Report,
): Policy {
  const written = settings.policy
  const deny = written.deny.map((rule) => toRule(rule, 'policy.deny'))
  const own = written.allow.map((rule) => toRule(rule, 'policy.allow'))
  for (const [index, rule] of own.entries()) {
    const beaten = deny.findIndex((denying) => deniesAll(denying, rule))
    if (beaten === -1) continue
    report(
      ['policy', 'allow', index],
      `can never apply: policy.deny[${beaten}] covers it, and deny beats allow; remove one of them`,
    )
  }
  for (const rule of added) {
    const beaten = deny.findIndex((denying) => deniesAll(denying, rule))
    if (beaten !== -1)
      report(['policy', 'deny', beaten], `covers \`--allow ${ruleName(rule)}\`, which can then never apply`)
  }
  const allow = [...used.flatMap(presetRules), ...own, ...added]
  const inForce = allow.filter(
    (rule) => !isExpired(rule, nowMs) && !deny.some((denying) => deniesAll(denying, rule)),
  )
  if (allow.length === 0) {
    report(['policy'], 'nothing is allowed; name a preset in `policy.presets` or a host in `policy.allow`')
  } else if (inForce.length === 0) {
    report(['policy'], 'nothing is allowed: every rule has expired or is denied by another')
  }
  return compilePolicy({
    mode: written.mode,
    allow,
    deny,
    elsewhere: hostsElsewhere(presets, written.presets),
  })
}

function deniesAll(denying: Rule, allowing: Rule): boolean {
  if (denying.expires !== undefined) return false
  return (
    (denying.port === undefined || denying.port === allowing.port) &&
    coversPattern(denying.host, allowing.host)
  )
}

type WrittenRule = Settings['policy']['allow'][number] | Settings['policy']['deny'][number]

function toRule({ host, port, owner, reason, expires }: WrittenRule, ruleset: string): Rule {
  return {
    host,
    port,
    ruleset,
    ...(owner !== undefined && { owner }),
    ...(reason !== undefined && { reason }),
    ...(expires !== undefined && { expires }),
  }
}

function noticesFor(config: Config, document: Document, nowMs: number): readonly string[] {
  const expired = config.policy.allow.filter((rule) => isExpired(rule, nowMs))
  return [
    ...expired.map((rule) => `the rule ${ruleName(rule)} expired after ${rule.expires} and no longer allows`),
    ...Object.keys(config.dns.hosts)
      .filter((host) => !config.policy.allow.some((rule) => matchesHost(rule.host, host)))
      .map((host) => `dns.hosts: no rule allows ${host}, so its addresses are never used`),
    ...(config.clients.allow.some((block) => block.prefixLength === 0)
      ? ['clients.allow: everybody who reaches the port may use the proxy']
      : []),
    ...(config.policy.mode === 'report'
      ? ['policy.mode is report: nothing is denied by policy, only recorded']
      : []),
    ...(document.has('admin') && config.admin.listen
      ? ['admin.listen: this version has no admin listener; the key is reserved']
      : []),
    ...(config.workers === 1 ? [] : ['workers: this version runs one worker']),
  ]
}

/** Freezes plain objects and arrays all the way down. Maps and class instances (address blocks) are left alone. */
function deepFreeze<T>(value: T): T {
  if (typeof value !== 'object' || value === null) return value
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && !Array.isArray(value)) return value
  Object.freeze(value)
  for (const inner of Object.values(value)) deepFreeze(inner)
  return value
}
