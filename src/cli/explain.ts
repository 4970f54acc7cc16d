/** `sallyport explain`: the steps of the very function that the gate calls, for one target. */
import { explainTarget, type Explanation } from '../policy/explain.ts'
import { findClient } from './find-client.ts'
import { columns, EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export interface ExplainOptions {
  readonly config?: string
  readonly allow?: readonly string[]
  /** The client's address, or the name of its rule. */
  readonly client?: string
  readonly json?: boolean
  /** Ask the running gate. */
  readonly live?: boolean
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
  const explained = explainTarget(policy, text, Date.now())
  const { target, decision, facts, steps } = explained
  if (options.json) {
    io.stdout.write(
      `${JSON.stringify({ target, ...client.facts, decision, ...facts, steps, policy: policy.hash, mode: policy.mode })}\n`,
    )
  } else {
    printExplanation(
      explained,
      `${client.said}${read.file}, ${policy.mode}, ${policy.hash.slice(0, 19)}…`,
      io,
    )
  }
  return decision === 'deny' ? EXIT.finding : EXIT.ok
}

/** @param source whose answer it is */
export function printExplanation(
  { target, steps, verdict, advice }: Explanation,
  source: string,
  io: Io,
): void {
  io.stdout.write(`${target}  (${source})\n\n`)
  io.stdout.write(
    columns(steps.map((step) => [`  ${step.passed ? 'yes' : 'NO '}`, step.question, step.answer])),
  )
  io.stdout.write(`\n${verdict}\n`)
  if (advice !== undefined) io.stdout.write(`${advice}\n`)
}
