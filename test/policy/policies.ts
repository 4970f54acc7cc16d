/** Policies for tests, written as short as people say them. */
import { parseHostPattern } from '../../src/policy/host-pattern.ts'
import { compilePolicy, type Policy, type PresetHost, type Rule } from '../../src/policy/rules.ts'

/** `cgr.dev` is a rule for port 443, `cgr.dev:8443` names its port, `cgr.dev:*` has none (deny rules only). */
export function rule(
  text: string,
  more: Partial<Pick<Rule, 'ruleset' | 'owner' | 'reason' | 'expires'>> = {},
): Rule {
  const [host = '', port = '443'] = text.split(':')
  const pattern = parseHostPattern(host, 'deny')
  if (!pattern.ok) throw new TypeError(`${text}: ${pattern.problem}`)
  return {
    host: pattern.pattern,
    port: port === '*' ? undefined : Number(port),
    ruleset: 'policy.allow',
    ...more,
  }
}

export function policyOf(parts: {
  readonly allow?: readonly (string | Rule)[]
  readonly deny?: readonly (string | Rule)[]
  readonly mode?: Policy['mode']
  readonly elsewhere?: readonly PresetHost[]
}): Policy {
  const rules = (list: readonly (string | Rule)[] | undefined, ruleset: string): readonly Rule[] =>
    (list ?? []).map((one) => (typeof one === 'string' ? rule(one, { ruleset }) : one))
  return compilePolicy({
    mode: parts.mode ?? 'enforce',
    allow: rules(parts.allow, 'policy.allow'),
    deny: rules(parts.deny, 'policy.deny'),
    ...(parts.elsewhere && { elsewhere: parts.elsewhere }),
  })
}
