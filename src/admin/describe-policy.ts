/** The policy in force as plain data: what `/api/policy` says. No secret is part of it. */
import { policiesOf, type Config } from '../config/load.ts'
import { isExpired, ruleName, type Policy, type Rule } from '../policy/rules.ts'

export function describePolicy(config: Config, configFile: string, nowMs: number): Record<string, unknown> {
  const { policy, clients, addresses } = config
  return {
    file: configFile,
    ...describeOne(policy, nowMs),
    presets: config.presets,
    onRevoke: config.onRevoke,
    candidate: config.candidate,
    clients: {
      allow: clients.allow.map(({ text }) => text),
      others: clients.others,
      rules: clients.rules.map((rule) => ({
        name: rule.name,
        from: rule.from?.map(({ text }) => text),
        users: rule.users,
        certificates: rule.certificates,
        // The rules of the common policy are listed once.
        policy: rule.policy === policy ? policy.hash : describeOne(rule.policy, nowMs),
      })),
    },
    addresses: { allow: addresses.allow.map(({ text }) => text) },
  }
}

function describeOne({ hash, mode, sni, ipLiterals, allow, deny }: Policy, nowMs: number) {
  const describe = (rule: Rule) => ({
    name: ruleName(rule),
    ruleset: rule.ruleset,
    owner: rule.owner,
    reason: rule.reason,
    expires: rule.expires,
    expired: isExpired(rule, nowMs),
    sni: rule.sni,
  })
  return { hash, mode, sni, ipLiterals, allow: allow.map(describe), deny: deny.map(describe) }
}

/** When the first of the rules in force ends, those of clients included: the day after its last. */
export function nextExpiryMs(config: Config, nowMs: number): number | undefined {
  const ends = policiesOf(config)
    .flatMap(({ allow, deny }) => allow.concat(deny))
    .flatMap((rule) =>
      rule.expires === undefined || isExpired(rule, nowMs)
        ? []
        : [Date.parse(`${rule.expires}T00:00:00Z`) + 86_400_000],
    )
  return ends.length === 0 ? undefined : Math.min(...ends)
}
