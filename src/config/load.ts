/**
 * From the text of a configuration file to one frozen Config, or to every issue at once, each with its line and
 * column. Pure: the caller reads the file and brings the presets.
 */
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml'
import { findBadAlias } from './aliases.ts'
import type { ClientRule } from '../policy/clients.ts'
import { matchesHost, parseHostPattern } from '../policy/host-pattern.ts'
import { isExpired, ruleName, type Policy, type Rule } from '../policy/rules.ts'
import type { Preset } from '../presets/preset.ts'
import { describe } from './describe.ts'
import type { ConfigIssue } from './issue.ts'
import { formatPath, locate } from './locate.ts'
import { buildClientRules, buildPolicy, checkPresets, type PolicySource, type Report } from './policies.ts'
import { configSchema, presetNames, type Settings } from './schema.ts'
import { parseListenAddress, type ListenAddress } from './units.ts'

/** The whole configuration, frozen; `policy` is compiled, the rest is as in the file with defaults filled in. */
export type Config = Readonly<Omit<Settings, 'policy' | 'clients' | 'transparent'>> & {
  /** Every listener; those of `transparent` come last. */
  readonly listen: readonly ListenAddress[]
  readonly policy: Policy
  readonly onRevoke: Settings['policy']['onRevoke']
  /** The file of the policy to come, as written. */
  readonly candidate: string | null
  readonly presets: readonly string[]
  /** The rules with their policies, compiled. */
  readonly clients: Readonly<Omit<Settings['clients'], 'rules'>> & { readonly rules: readonly ClientRule[] }
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
  const names = presetNames.safeParse(written).data?.policy.presets ?? []
  checkPresets(names, ['policy', 'presets'], source.presets, report)
  const result = configSchema.safeParse(written, { reportInput: true })
  if (!result.success) {
    for (const issue of result.error.issues) {
      for (const { path, message, at } of describe(issue)) report(path, message, at)
    }
  }
  const overrides = parseOverrides(source.overrides ?? {}, issues)
  if (!result.success) return { ok: false, issues: byPlace(issues) }

  const settings = result.data
  const common: PolicySource = {
    written: settings.policy,
    own: settings.policy,
    at: ['policy'],
    label: 'policy',
    added: overrides.allow,
  }
  const compile = (part: PolicySource): Policy => buildPolicy(part, source.presets, source.nowMs, report)
  const policy = compile(common)
  const rules = buildClientRules(settings, common, policy, source.presets, compile, report)
  const { stdout, file, syslog, otlp } = settings.audit
  if (!stdout && !file && !syslog && !otlp) {
    report(['audit', 'stdout'], 'records would go nowhere; turn on `audit.stdout`, or name an `audit.file`')
  }
  if (issues.length > 0) return { ok: false, issues: byPlace(issues) }
  const { policy: writtenPolicy, transparent, ...rest } = settings
  const redirected = transparent.map(({ host, port }): ListenAddress => ({ host, port, transparent: true }))
  const config: Config = {
    ...rest,
    listen: [...(overrides.listen ?? settings.listen), ...redirected],
    clients: { ...settings.clients, rules },
    policy,
    presets: writtenPolicy.presets,
    onRevoke: writtenPolicy.onRevoke,
    candidate: writtenPolicy.candidate,
  }
  return { ok: true, config: deepFreeze(config), notices: noticesFor(config, source.nowMs) }
}

function parseOverrides(
  overrides: ConfigOverrides,
  issues: ConfigIssue[],
): { listen: readonly ListenAddress[] | undefined; allow: readonly Rule[] } {
  let listen: readonly ListenAddress[] | undefined
  if (overrides.listen !== undefined) {
    const address = parseListenAddress(overrides.listen)
    if (address) listen = [address]
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

function byPlace(issues: readonly ConfigIssue[]): readonly ConfigIssue[] {
  return issues.toSorted((a, b) => (a.line ?? 0) - (b.line ?? 0) || (a.column ?? 0) - (b.column ?? 0))
}

function noticesFor(config: Config, nowMs: number): readonly string[] {
  const allowed = new Set(policiesOf(config).flatMap(({ allow }) => allow))
  const expired = [...allowed].filter((rule) => isExpired(rule, nowMs))
  return [
    ...expired.map((rule) => `the rule ${ruleName(rule)} expired after ${rule.expires} and no longer allows`),
    ...Object.keys(config.dns.hosts)
      .filter(
        (host) => !policiesOf(config).some(({ allow }) => allow.some((rule) => matchesHost(rule.host, host))),
      )
      .map((host) => `dns.hosts: no rule allows ${host}, so its addresses are never used`),
    ...(config.clients.passwords !== null &&
    !config.clients.rules.some(({ users }) => users) &&
    config.clients.others === 'policy'
      ? ['clients.passwords: no rule asks for a user, so clients need no password']
      : []),
    ...(config.clients.allow.some((block) => block.prefixLength === 0)
      ? ['clients.allow: everybody who reaches the port may use the proxy']
      : []),
    ...(config.policy.mode === 'report'
      ? ['policy.mode is report: nothing is denied by policy, only recorded']
      : []),
    ...config.clients.rules
      .filter(({ policy }) => policy !== config.policy && policy.mode === 'report')
      .map(
        ({ name }) => `clients.${name}: its mode is report: nothing is denied to it by policy, only recorded`,
      ),
  ]
}

/** The common policy, and each other one that a client has. */
export function policiesOf(config: Config): readonly Policy[] {
  return [...new Set([config.policy, ...config.clients.rules.map(({ policy }) => policy)])]
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
