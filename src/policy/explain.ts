/** What `sallyport explain` and the admin API say of a target: the steps of the very function that the gate calls. */
import { isIPv6Literal, parseAuthority } from './authority.ts'
import { decide, type Decision, type Step } from './decide.ts'
import { outcome } from './reasons.ts'
import { explanation } from './refusal.ts'
import { ruleName, sniCheckOf, type Policy } from './rules.ts'

export interface Explanation {
  /** With its port. */
  readonly target: string
  readonly decision: Decision['kind']
  /** Code, rule and hint, as records have them. */
  readonly facts: Readonly<Record<string, unknown>>
  readonly steps: readonly Step[]
  /** In words, one line or two. */
  readonly verdict: string
  /** A next step for who wrote something else than a target. */
  readonly advice?: string
}

/** @param text what somebody wrote: a host, or `host:port` */
export function explainTarget(policy: Policy, text: string, nowMs: number): Explanation {
  const target = withPort(text)
  const steps: Step[] = []
  const decision = decide(policy, parseAuthority(target), nowMs, (step) => steps.push(step))
  const url = /^https?:\/\/([^/?#:@]+)/i.exec(text)
  return {
    target,
    decision: decision.kind,
    facts: factsOf(decision),
    steps,
    verdict: describe(decision, policy),
    ...(url && { advice: `That is a URL; for its host: sallyport explain ${url[1]}` }),
  }
}

/** A host alone means port 443. */
function withPort(text: string): string {
  if (isIPv6Literal(text)) return `[${text}]:443`
  const bare = text.startsWith('[') ? text.endsWith(']') : !text.includes(':')
  return bare ? `${text}:443` : text
}

function factsOf(decision: Decision): Record<string, unknown> {
  if (decision.kind === 'allow') {
    const { rule } = decision
    return {
      code: 'allowed',
      rule: { name: ruleName(rule), ruleset: rule.ruleset, owner: rule.owner },
    }
  }
  if (decision.kind === 'prove') return { code: 'ip_literal', proof: 'verify-sni' }
  const { code, rule, hint, malformation } = decision.denial
  return {
    code,
    ...(rule && { rule: { name: ruleName(rule), ruleset: rule.ruleset, owner: rule.owner } }),
    ...(hint && { hint: hint.value }),
    ...(malformation && { malformation }),
  }
}

function describe(decision: Decision, policy: Policy): string {
  if (decision.kind === 'allow') {
    const { rule } = decision
    return (
      `allowed by ${ruleName(rule)} of ${rule.ruleset}${rule.reason === undefined ? '' : ` (${rule.reason})`}\n` +
      (sniCheckOf(policy, rule) === 'off'
        ? 'A tunnel still needs a permitted address from DNS; its server name is not checked (sni: off).'
        : 'A tunnel still needs a permitted address from DNS, and a ClientHello for this host.')
    )
  }
  if (decision.kind === 'prove') {
    return (
      'it depends on the ClientHello (policy.ipLiterals is verify-sni)\n' +
      'A tunnel opens when it names an allowed host, and DNS now gives this very address for that host.'
    )
  }
  const { meaning, advice } = outcome(decision.denial.code)
  const why = explanation({ kind: 'refusal', ...decision.denial })
  const verdict = decision.kind === 'report' ? 'let through (mode report), enforce would deny' : 'denied'
  return `${verdict}: ${decision.denial.code}${why && `, ${why}`}\n${meaning}; ${advice}`
}
