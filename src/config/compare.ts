/** What one configuration changes in another. Pure. */
import { isDeepStrictEqual } from 'node:util'
import { ruleName } from '../policy/rules.ts'
import { policiesOf, type Config } from './load.ts'

export interface ConfigChange {
  /** Rules that allow, `host:port`, over the policies of all clients. */
  readonly added: readonly string[]
  readonly removed: readonly string[]
  /** Entries of `clients.rules` that are new, gone or have another policy. */
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

/** @param started the configuration that the process started with */
export function compareConfigs(before: Config, after: Config, started: Config): ConfigChange {
  const [had, has] = [allowedBy(before), allowedBy(after)]
  const [hadClients, hasClients] = [clientPolicies(before), clientPolicies(after)]
  const atStart = new Map<string, unknown>(Object.entries(started))
  const names = new Set([...hadClients.keys(), ...hasClients.keys()])
  return {
    added: [...has].filter((rule) => !had.has(rule)),
    removed: [...had].filter((rule) => !has.has(rule)),
    clients: [...names].filter((name) => hadClients.get(name) !== hasClients.get(name)),
    restart: Object.entries(after)
      .filter(([key, value]) => !RELOADED.has(key) && !isDeepStrictEqual(atStart.get(key), value))
      .map(([key]) => key),
  }
}

function allowedBy(config: Config): ReadonlySet<string> {
  return new Set(policiesOf(config).flatMap(({ allow }) => allow.map(ruleName)))
}

function clientPolicies({ clients }: Config): ReadonlyMap<string, string> {
  return new Map(clients.rules.map(({ name, policy }) => [name, policy.hash]))
}
