/** What one configuration changes in another. Pure. */
import { isDeepStrictEqual } from 'node:util'
import { coversRule, isExpired, ruleName, type Policy, type Rule } from '../policy/rules.ts'
import { policiesOf, type Config } from './load.ts'

export interface ConfigChange {
  /** What may be reached, `host:port`, over the policies of all clients: allow rules that no deny rule takes back. */
  readonly added: readonly string[]
  readonly removed: readonly string[]
  /** Other settings, each with what became of it: `policy.mode: enforce -> report`, `policy.deny: +cgr.dev`. */
  readonly changed: readonly string[]
  /** Entries of `clients.rules` that are new, gone or others. */
  readonly clients: readonly string[]
  /** Keys whose new value waits for a restart. */
  readonly restart: readonly string[]
}

/** What a reload puts in force; everything else is there from start to end. The R of docs/configuration.md says the same. */
export const RELOADED: ReadonlySet<string> = new Set<keyof Config>([
  'policy',
  'presets',
  'onRevoke',
  'candidate',
  'clients',
  'addresses',
  'dns',
  'limits',
  'forward',
])

type Value = string | number | null | readonly string[]
type Settings<T> = readonly (readonly [key: string, of: (whole: T) => Value])[]

const OF_POLICIES: Settings<Policy> = [
  ['mode', ({ mode }) => mode],
  ['sni', ({ sni }) => sni],
  ['ipLiterals', ({ ipLiterals }) => ipLiterals],
  ['deny', ({ deny }) => deny.map(withTerms)],
  // The others are told by what may be reached.
  ['allow', ({ allow }) => allow.filter(({ sni, expires }) => sni ?? expires).map(withTerms)],
]

const OF_ALL: Settings<Config> = [
  ['policy.onRevoke', ({ onRevoke }) => onRevoke],
  ['policy.candidate', ({ candidate }) => candidate],
  ['clients.allow', ({ clients }) => clients.allow.map(({ text }) => text)],
  ['clients.others', ({ clients }) => clients.others],
  ['clients.passwords', ({ clients }) => clients.passwords],
  ['clients.maxTunnelsPerClient', ({ clients }) => clients.maxTunnelsPerClient],
  ['addresses.allow', ({ addresses }) => addresses.allow.map(({ text }) => text)],
  ['forward.absoluteForm', ({ forward }) => forward.absoluteForm],
]

/**
 * @param started the configuration that the process started with
 * @param nowMs wall clock, milliseconds since the epoch; it only matters to `expires`
 */
export function compareConfigs(before: Config, after: Config, started: Config, nowMs: number): ConfigChange {
  const [had, has] = [reachedBy(before, nowMs), reachedBy(after, nowMs)]
  const [hadClients, hasClients] = [clientsOf(before), clientsOf(after)]
  const atStart = new Map<string, unknown>(Object.entries(started))
  const names = [...new Set([...hadClients.keys(), ...hasClients.keys()])]
  const both = names.flatMap((name) => {
    const [was, is] = [hadClients.get(name)?.policy, hasClients.get(name)?.policy]
    // Who has the common one is told by that.
    return was && is && (was !== before.policy || is !== after.policy) ? [{ name, was, is }] : []
  })
  return {
    added: [...has].filter((rule) => !had.has(rule)),
    removed: [...had].filter((rule) => !has.has(rule)),
    changed: [
      ...changesOf('policy.', OF_POLICIES, before.policy, after.policy),
      ...changesOf('', OF_ALL, before, after),
      ...(['dns', 'limits'] as const).filter((key) => !isDeepStrictEqual(before[key], after[key])),
      ...both.flatMap(({ name, was, is }) => changesOf(`clients.${name}.`, OF_POLICIES, was, is)),
    ],
    clients: names.filter(
      (name) => !isDeepStrictEqual(hadClients.get(name)?.facts, hasClients.get(name)?.facts),
    ),
    restart: Object.entries(after)
      .filter(([key, value]) => !RELOADED.has(key) && !isDeepStrictEqual(atStart.get(key), value))
      .map(([key]) => key),
  }
}

function reachedBy(config: Config, nowMs: number): ReadonlySet<string> {
  const reached = policiesOf(config).flatMap(({ allow, deny }) => {
    const denying = deny.filter((rule) => !isExpired(rule, nowMs))
    return allow.filter(
      (rule) => !isExpired(rule, nowMs) && !denying.some((denied) => coversRule(denied, rule)),
    )
  })
  return new Set(reached.map(ruleName))
}

function clientsOf({ clients }: Config) {
  return new Map(
    clients.rules.map(({ policy, ...rule }) => [
      rule.name,
      { policy, facts: { ...rule, policy: policy.hash } },
    ]),
  )
}

function changesOf<T>(prefix: string, settings: Settings<T>, before: T, after: T): readonly string[] {
  return settings.flatMap(([key, of]) =>
    changesBetween(of(before), of(after)).map((change) => `${prefix}${key}: ${change}`),
  )
}

function changesBetween(was: Value, is: Value): readonly string[] {
  if (!isList(was) || !isList(is)) return was === is ? [] : [`${String(was)} -> ${String(is)}`]
  return [
    ...is.filter((item) => !was.includes(item)).map((item) => `+${item}`),
    ...was.filter((item) => !is.includes(item)).map((item) => `-${item}`),
  ]
}

const isList = (value: Value): value is readonly string[] => typeof value === 'object' && value !== null

function withTerms(rule: Rule): string {
  return [
    ruleName(rule),
    ...(rule.sni === undefined ? [] : [`sni ${rule.sni}`]),
    ...(rule.expires === undefined ? [] : [`until ${rule.expires}`]),
  ].join(' ')
}
