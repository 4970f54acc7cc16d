/**
 * The decision: may this target be reached? One pure function, called by the gate for every CONNECT and by
 * `sallyport explain` with a trace. Order of its questions: is the target well-formed, is it a name, does a deny
 * rule name it, does an allow rule name it on this port and today.
 */
import type { Authority, Malformation } from './authority.ts'
import { parentsOf } from './hostname.ts'
import { nearMiss, nearMissPort, type Hint, type Permits } from './near-miss.ts'
import { isExpired, ruleName, type Policy, type Rule, type RuleIndex } from './rules.ts'

/** The canonical destination: what is resolved, dialled and recorded. */
export interface Target {
  readonly host: string
  readonly port: number
  readonly kind: 'name' | 'ip'
}

export type DenyCode =
  | 'malformed_authority'
  | 'ip_literal'
  | 'rule_denied'
  | 'rule_expired'
  | 'port_not_allowed'
  | 'host_not_allowed'

export interface Denial {
  readonly code: DenyCode
  readonly rule?: Rule
  readonly hint?: Hint
  readonly malformation?: Malformation
}

export type Decision =
  | { readonly kind: 'allow'; readonly target: Target; readonly rule: Rule }
  /** An IP address under `policy.ipLiterals: verify-sni`: nothing is decided before the ClientHello names a host. */
  | { readonly kind: 'prove'; readonly target: Target }
  /** `policy.mode: report`: let through, and recorded with what `enforce` would have said. */
  | { readonly kind: 'report'; readonly target: Target; readonly denial: Denial }
  /** `target` is absent when the authority could not be read. */
  | { readonly kind: 'deny'; readonly target?: Target; readonly denial: Denial }

/** One question that was asked, and its answer. */
export interface Step {
  readonly question: string
  readonly answer: string
  readonly passed: boolean
}

/**
 * Decides one request.
 *
 * @param nowMs wall clock, milliseconds since the epoch; it only matters to `expires`
 * @param trace receives each step as it is taken; the gate passes none
 */
export function decide(
  policy: Policy,
  authority: Authority,
  nowMs: number,
  trace?: (step: Step) => void,
): Decision {
  if (authority.kind === 'malformed') {
    trace?.({ question: 'well-formed host:port?', answer: authority.malformation, passed: false })
    return { kind: 'deny', denial: { code: 'malformed_authority', malformation: authority.malformation } }
  }
  const target: Target = { host: authority.host, port: authority.port, kind: authority.kind }
  trace?.({ question: 'well-formed host:port?', answer: `${target.host} port ${target.port}`, passed: true })

  if (target.kind === 'ip' && policy.ipLiterals === 'verify-sni') {
    trace?.({
      question: LITERAL_QUESTION,
      answer: 'an IP address, which the ClientHello must prove',
      passed: true,
    })
    return { kind: 'prove', target }
  }
  const verdict = target.kind === 'ip' ? refuseLiteral(trace) : judge(policy, target, nowMs, trace)
  if (verdict.kind === 'rule') return { kind: 'allow', target, rule: verdict.rule }
  if (policy.mode === 'enforce') return { kind: 'deny', target, denial: verdict.denial }
  trace?.({ question: 'mode?', answer: 'report: let through, and recorded', passed: true })
  return { kind: 'report', target, denial: verdict.denial }
}

type Verdict =
  { readonly kind: 'rule'; readonly rule: Rule } | { readonly kind: 'denial'; readonly denial: Denial }
const LITERAL_QUESTION = 'a host name, not an IP address?'
/** grpc-go before 1.71 resolved names itself and sent addresses. */
const OLD_CHAINCTL: Hint = {
  kind: 'advice',
  value: 'connect by host name: upgrade chainctl, or allow verify-sni',
}

type Trace = ((step: Step) => void) | undefined

function refuseLiteral(trace: Trace): Verdict {
  trace?.({ question: LITERAL_QUESTION, answer: 'an IP address', passed: false })
  return { kind: 'denial', denial: { code: 'ip_literal', hint: OLD_CHAINCTL } }
}

function judge(policy: Policy, target: Target, nowMs: number, trace: Trace): Verdict {
  const { host, port } = target
  trace?.({ question: LITERAL_QUESTION, answer: 'a host name', passed: true })

  const denying = findDenying(policy, host, port, nowMs)
  trace?.({
    question: 'free of deny rules?',
    answer: denying ? cite(denying) : 'none applies',
    passed: !denying,
  })
  if (denying) return { kind: 'denial', denial: { code: 'rule_denied', rule: denying } }

  const permits: Permits = (otherHost, otherPort) =>
    !findDenying(policy, otherHost, otherPort, nowMs) &&
    rulesFor(policy.allowIndex, otherHost).some((rule) => rule.port === otherPort && !isExpired(rule, nowMs))

  const naming = rulesFor(policy.allowIndex, host)
  trace?.({
    question: 'does an allow rule name the host?',
    answer: naming.map(cite).join(', ') || 'none does',
    passed: naming.length > 0,
  })
  if (naming.length === 0) {
    return {
      kind: 'denial',
      denial: withHint({ code: 'host_not_allowed' }, nearMiss(policy, host, port, permits)),
    }
  }

  const onPort = naming.filter((rule) => rule.port === port)
  trace?.({
    question: 'on this port?',
    answer: onPort.length > 0 ? `${port}` : `not ${port}`,
    passed: onPort.length > 0,
  })
  if (onPort.length === 0) {
    return {
      kind: 'denial',
      denial: withHint({ code: 'port_not_allowed' }, nearMissPort(host, naming, permits)),
    }
  }

  const inForce = onPort.find((rule) => !isExpired(rule, nowMs))
  const expired = onPort[0]
  trace?.({
    question: 'in force today?',
    answer: inForce ? `${cite(inForce)}, ${expiryOf(inForce)}` : onPort.map(expiryOf).join(', '),
    passed: inForce !== undefined,
  })
  if (inForce) return { kind: 'rule', rule: inForce }
  return { kind: 'denial', denial: { code: 'rule_expired', ...(expired && { rule: expired }) } }
}

function findDenying(policy: Policy, host: string, port: number, nowMs: number): Rule | undefined {
  return rulesFor(policy.denyIndex, host).find(
    (rule) => (rule.port === undefined || rule.port === port) && !isExpired(rule, nowMs),
  )
}

/** The rules that name a host: exact ones first, then wildcards from the longest apex up. */
function rulesFor(index: RuleIndex, host: string): readonly Rule[] {
  const exact = index.exact.get(host) ?? []
  if (index.subdomains.size === 0) return exact
  const found = [...exact]
  for (const parent of parentsOf(host)) found.push(...(index.subdomains.get(parent) ?? []))
  return found
}

function withHint(denial: Denial, hint: Hint | undefined): Denial {
  return hint ? { ...denial, hint } : denial
}

function cite(rule: Rule): string {
  return `${ruleName(rule)} (${rule.ruleset}${rule.owner === undefined ? '' : `, owner ${rule.owner}`})`
}

function expiryOf(rule: Rule): string {
  return rule.expires === undefined ? 'no end date' : `until ${rule.expires}`
}
