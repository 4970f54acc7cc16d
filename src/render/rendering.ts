/** What every target answers with, and the words that they share: who made this, from what, and what it leaves open. */
import { ruleName } from '../policy/rules.ts'
import { nameOf, portsOf, type Plan } from './plan.ts'

export type Rendering =
  | { readonly kind: 'text'; readonly text: string }
  /** The target cannot hold this policy at all, and says what to do instead. */
  | { readonly kind: 'impossible'; readonly why: string }

export interface RenderOptions {
  /** nftables, iptables: send the TLS of this user, or of everybody, to the transparent listener. */
  readonly redirect?: number | 'all'
  /** The user the gate runs as, which must not be sent to itself. */
  readonly gateUid: number
  /** Where the transparent listener is. */
  readonly transparent: { readonly host: string; readonly port: number }
}

export interface Target {
  readonly summary: string
  readonly render: (plan: Plan, options: RenderOptions) => Rendering
}

/** What the gate does for every connection and hardly any other system can. */
export const GAPS = {
  sni: 'It does not prove that the TLS server name is the host that was asked for.',
  sniOnly:
    'It knows the TLS server name only, not the address: whoever sends an allowed name reaches any address.',
  ttl: 'It does not follow DNS by the TTL of each answer.',
  guard: 'It does not refuse names that resolve to private, loopback or metadata addresses.',
  record: 'It keeps no record of each attempt with the rule, the reason and the DNS answers.',
} as const

/** Who made this, from which policy, when, and what it leaves open; one line each. */
export function heading(plan: Plan, target: string, gaps: readonly string[]): readonly string[] {
  const open = [...gaps, ...commonGaps(plan)]
  return [
    `Sallyport policy ${plan.hash}`,
    `rendered ${plan.date} for ${target} from ${plan.source}; do not edit, render again`,
    ...(open.length > 0 ? ['Read this before you use it:', ...open.map((gap) => `- ${gap}`)] : []),
  ]
}

function commonGaps(plan: Plan): readonly string[] {
  const ending = plan.allow.flatMap(({ rules }) =>
    rules.flatMap((rule) => (rule.expires === undefined ? [] : [`${ruleName(rule)} on ${rule.expires}`])),
  )
  const unproven = plan.allow.filter(({ sni }) => sni === 'off').map(nameOf)
  return [
    ...(ending.length > 0
      ? [`It does not end rules by itself; render again after: ${ending.join(', ')}.`]
      : []),
    ...(plan.mode === 'report' ? ['The policy only reports (policy.mode); this enforces it.'] : []),
    ...(unproven.length > 0
      ? [`Not held to their server name by the gate either: ${unproven.join(', ')}.`]
      : []),
    ...(plan.otherPolicies.length > 0
      ? [`These clients have policies of their own, not this one: ${plan.otherPolicies.join(', ')}.`]
      : []),
  ]
}

const WIDTH = 110

/** Lines as comments, folded at the usual width; a folded line hangs by two. */
export function comment(prefix: string, lines: readonly string[]): string {
  return lines.map((line) => fold(prefix, line)).join('')
}

function fold(prefix: string, line: string): string {
  let out = ''
  let row = prefix
  for (const word of line.split(' ')) {
    if (row.length + 1 + word.length > WIDTH && row.trim() !== prefix) {
      out += `${row}\n`
      row = `${prefix}  `
    }
    row += ` ${word}`
  }
  return `${out}${row}\n`
}

export function text(...parts: readonly string[]): Rendering {
  return { kind: 'text', text: parts.join('') }
}

/** For targets that hold bare lists of what is allowed. */
export function withoutExceptions(plan: Plan, target: string): Rendering | undefined {
  const [first] = plan.exceptions
  if (!first) return undefined
  return {
    kind: 'impossible',
    why:
      `${target} can only allow, and this policy denies ${ruleName(first.rule)} inside an allowed wildcard; ` +
      'list the allowed hosts one by one instead of the wildcard',
  }
}

/** For targets that hold names without ports. */
export function withOnePort(plan: Plan, target: string): Rendering | undefined {
  const ports = portsOf(plan)
  if (ports.length === 1) return undefined
  return {
    kind: 'impossible',
    why:
      `${target} holds names without ports, and this policy uses ${ports.join(' and ')}; ` +
      'keep one configuration for each port, and render them one by one',
  }
}
