/** Which hosts are probed: every exact rule in force, or the hosts that were named. Pure. */
import { parseAuthority } from '../policy/authority.ts'
import { decide, type Decision } from '../policy/decide.ts'
import { explanation } from '../policy/refusal.ts'
import { ruleName, type Policy, type Rule } from '../policy/rules.ts'
import type { Course, Target } from './walk.ts'

export interface Selection {
  /** In the order of the rules, or of the arguments. A host that the policy refuses is a finished course. */
  readonly courses: readonly Course[]
  readonly notProbed: readonly { readonly rule: string; readonly why: string }[]
}

export type SelectionResult =
  | { readonly ok: true; readonly selection: Selection }
  /** A wrong call; `problem` says what to write instead. */
  | { readonly ok: false; readonly problem: string }

/** Rulesets that are written by whoever runs the gate; all others are presets. */
const OWN_RULESETS = /^(?:policy\.|clients\.|--allow$)/

/**
 * @param policies the common one first, then those that clients have: what any of them allows is probed
 * @param named `HOST` or `HOST:PORT` each; none: every rule
 */
export function selectTargets(
  policies: readonly Policy[],
  named: readonly string[],
  nowMs: number,
): SelectionResult {
  return named.length === 0 ? selectAll(policies, nowMs) : selectNamed(policies, named, nowMs)
}

function selectAll(policies: readonly Policy[], nowMs: number): SelectionResult {
  const courses = new Map<string, Course>()
  const passedOver = new Map<string, string>()
  for (const policy of policies) {
    for (const rule of policy.allow) {
      const name = ruleName(rule)
      if (rule.host.kind === 'subdomains') {
        passedOver.set(name, `a wildcard; name a host below ${rule.host.apex} to probe it`)
        continue
      }
      const port = rule.port ?? 443
      const decision = decide(policy, { kind: 'name', host: rule.host.hostname, port }, nowMs)
      if (decision.kind === 'allow')
        courses.set(name, courses.get(name) ?? pending(decision.target, decision.rule))
      else if (decision.kind === 'deny' || decision.kind === 'report')
        passedOver.set(
          name,
          `${decision.denial.code}, ${explanation({ kind: 'refusal', ...decision.denial })}`,
        )
    }
  }
  if (courses.size === 0) {
    return {
      ok: false,
      problem: `no rule names a single host to probe (${[...passedOver.keys()].join(', ')}); name one: sallyport doctor HOST`,
    }
  }
  const notProbed = [...passedOver].flatMap(([rule, why]) => (courses.has(rule) ? [] : [{ rule, why }]))
  return { ok: true, selection: { courses: [...courses.values()], notProbed } }
}

function selectNamed(policies: readonly Policy[], named: readonly string[], nowMs: number): SelectionResult {
  const courses = new Map<string, Course>()
  for (const text of named) {
    for (const authority of portsFor(policies, text)) {
      const decision = mostPermissive(policies, authority, nowMs)
      const { target } = decision
      if (!target)
        return {
          ok: false,
          problem: `${JSON.stringify(text)} is not HOST or HOST:PORT (${decision.kind === 'deny' ? (decision.denial.malformation ?? '') : ''})`,
        }
      const key = `${target.host}:${target.port}`
      if (decision.kind === 'deny') {
        const why = explanation({ kind: 'refusal', ...decision.denial })
        courses.set(key, refused(target, `${decision.denial.code}${why && `, ${why}`}`))
      } else courses.set(key, pending(target, decision.kind === 'allow' ? decision.rule : undefined))
    }
  }
  return { ok: true, selection: { courses: [...courses.values()], notProbed: [] } }
}

/** That of a policy which allows it, else of one that lets it through, else the common one's. */
function mostPermissive(policies: readonly Policy[], authority: string, nowMs: number): Decision {
  const decisions = policies.map((policy) => decide(policy, parseAuthority(authority), nowMs))
  return (
    decisions.find(({ kind }) => kind === 'allow') ??
    decisions.find(({ kind }) => kind !== 'deny') ??
    decisions[0] ?? { kind: 'deny', denial: { code: 'host_not_allowed' } }
  )
}

/** The ports that rules give a host that was named without one. */
function portsFor(policies: readonly Policy[], text: string): readonly string[] {
  if (text.includes(':')) return [text]
  const rules = policies.flatMap(({ allowIndex }) => allowIndex.exact.get(text.toLowerCase()) ?? [])
  const ports = new Set(rules.map((rule) => rule.port ?? 443))
  return ports.size === 0 ? [`${text}:443`] : [...ports].map((port) => `${text}:${port}`)
}

function pending({ host, port }: { host: string; port: number }, rule: Rule | undefined): Course {
  const target: Target = {
    host,
    port,
    ...(rule?.reason !== undefined && { purpose: rule.reason }),
    documented: rule !== undefined && !OWN_RULESETS.test(rule.ruleset),
  }
  return { target, steps: [], finished: false }
}

function refused({ host, port }: { host: string; port: number }, detail: string): Course {
  return {
    target: { host, port, documented: false },
    steps: [{ name: 'policy', mark: 'fail', durationMs: 0, text: detail }],
    finding: { code: 'not_allowed', detail },
    finished: true,
  }
}
