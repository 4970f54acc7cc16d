/** Why an attempt ends without a tunnel, and how that is said. */
import type { Malformation } from './authority.ts'
import { hintPhrase, type Hint } from './near-miss.ts'
import { outcome, type RefusalCode } from './reasons.ts'
import { ruleName, type Rule } from './rules.ts'

export interface Refusal {
  readonly kind: 'refusal'
  readonly code: RefusalCode
  readonly rule?: Rule
  readonly hint?: Hint
  readonly malformation?: Malformation
  /** One more fact for the record and the reply, in our own words, never the client's. */
  readonly detail?: string
}

export function refusal(code: RefusalCode, more: Omit<Refusal, 'kind' | 'code'> = {}): Refusal {
  return { kind: 'refusal', code, ...more }
}

/** The part of a refusal that is about this case: the hint, the rule, or the detail. Our own words only. */
export function explanation(refusal: Refusal): string {
  if (refusal.hint) return hintPhrase(refusal.hint)
  if (refusal.rule) return explainRule(refusal)
  if (refusal.malformation) return refusal.malformation.replaceAll('_', ' ')
  return refusal.detail ?? ''
}

function explainRule({ code, rule }: Refusal): string {
  if (!rule) return ''
  const owner = rule.owner === undefined ? '' : `, owner ${printable(rule.owner)}`
  return code === 'rule_expired'
    ? `rule ${ruleName(rule)} ended ${rule.expires}${owner}`
    : `rule ${ruleName(rule)} of ${rule.ruleset}${owner}`
}

export function verbOf(refusal: Refusal): 'denied' | 'failed' {
  return outcome(refusal.code).action === 'tunnel-failed' ? 'failed' : 'denied'
}

export function authorityOf({ host, port }: { host: string; port: number }): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

/** What a status line can carry: an owner in the configuration may be written in any script. */
export function printable(text: string): string {
  return text.replace(/[^\x20-\x7e]/g, '?')
}
