/** `sallyport explain`: the steps of the very function that the gate calls, for one target. */
import { isIPv6Literal, parseAuthority } from '../policy/authority.ts'
import { decide, type Decision, type Step } from '../policy/decide.ts'
import { outcome } from '../policy/reasons.ts'
import { explanation } from '../policy/refusal.ts'
import { ruleName, sniCheckOf, type Policy } from '../policy/rules.ts'
import { findClient } from './find-client.ts'
import { columns, EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export interface ExplainOptions {
  readonly config?: string
  readonly allow?: readonly string[]
  /** The client's address, or the name of its rule. */
  readonly client?: string
  readonly json?: boolean
}

export function explain(text: string, options: ExplainOptions, io: Io): ExitCode {
  const read = readConfig(options.config, options.allow ? { allow: options.allow } : {})
  if (read.kind === 'unreadable') {
    io.stderr.write(`sallyport: ${read.message}\n`)
    return EXIT.usage
  }
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const client = findClient(read.config, options.client)
  if (client.kind !== 'policy') {
    const { verdict } = client
    if (options.json && client.kind === 'refused')
      io.stdout.write(`${JSON.stringify({ decision: 'deny', ...client.facts })}\n`)
    else io[client.kind === 'refused' ? 'stdout' : 'stderr'].write(`${verdict}\n`)
    return client.kind === 'refused' ? EXIT.finding : EXIT.usage
  }
  const { policy } = client
  const target = withPort(text)
  const steps: Step[] = []
  const decision = decide(policy, parseAuthority(target), Date.now(), (step) => steps.push(step))
  const result = summarize(decision)
  if (options.json) {
    io.stdout.write(
      `${JSON.stringify({ target, ...client.facts, ...result, steps, policy: policy.hash, mode: policy.mode })}\n`,
    )
  } else {
    io.stdout.write(
      `${target}  (${client.said}${read.file}, ${policy.mode}, ${policy.hash.slice(0, 19)}…)\n\n`,
    )
    io.stdout.write(
      columns(steps.map((step) => [`  ${step.passed ? 'yes' : 'NO '}`, step.question, step.answer])),
    )
    io.stdout.write(`\n${describe(decision, policy)}\n`)
    const url = /^https?:\/\/([^/?#:@]+)/i.exec(text)
    if (url) io.stdout.write(`That is a URL; for its host: sallyport explain ${url[1]}\n`)
  }
  return decision.kind === 'deny' ? EXIT.finding : EXIT.ok
}

/** A host alone means port 443. */
function withPort(text: string): string {
  if (isIPv6Literal(text)) return `[${text}]:443`
  const bare = text.startsWith('[') ? text.endsWith(']') : !text.includes(':')
  return bare ? `${text}:443` : text
}

function summarize(decision: Decision): Record<string, unknown> {
  if (decision.kind === 'allow') {
    const { rule } = decision
    return {
      decision: 'allow',
      code: 'allowed',
      rule: { name: ruleName(rule), ruleset: rule.ruleset, owner: rule.owner },
    }
  }
  if (decision.kind === 'prove') return { decision: 'prove', code: 'ip_literal', proof: 'verify-sni' }
  const { code, rule, hint, malformation } = decision.denial
  return {
    decision: decision.kind,
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
