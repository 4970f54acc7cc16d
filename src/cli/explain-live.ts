/** `sallyport explain --live`: the answer of the gate that runs. */
import { z } from 'zod'
import { askAdmin } from './ask-admin.ts'
import { printExplanation, type ExplainOptions } from './explain.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

/** What the gate that runs now says: its policy may be another than the file's. */
export async function explainLive(text: string, options: ExplainOptions, io: Io): Promise<ExitCode> {
  const read = readConfig(options.config)
  if (read.kind === 'unreadable') {
    io.stderr.write(`sallyport: ${read.message}\n`)
    return EXIT.usage
  }
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const query = new URLSearchParams({
    target: text,
    ...(options.client !== undefined && { client: options.client }),
  })
  const asked = await askAdmin(read.config.admin, `/api/explain?${query.toString()}`)
  if (asked.kind === 'nobody') {
    io.stderr.write(`sallyport: ${asked.why}\n`)
    return EXIT.usage
  }
  const explained = liveExplanation.safeParse(asked.body)
  if (asked.status !== 200 || !explained.success) {
    const { error } = problem.safeParse(asked.body).data ?? { error: `status ${asked.status}` }
    io.stderr.write(`sallyport: the gate at ${asked.from}: ${error}\n`)
    return EXIT.usage
  }
  const { policy, mode, client, ...explanation } = explained.data
  if (options.json) io.stdout.write(`${JSON.stringify(asked.body)}\n`)
  else {
    const said =
      client === undefined ? '' : client === null ? 'no rule of clients.rules, ' : `client ${client}, `
    const source = policy === undefined ? '' : `, ${mode}, ${policy.slice(0, 19)}…`
    printExplanation(
      { facts: {}, ...explanation, target: explanation.target ?? text },
      `${said}the gate at ${asked.from}${source}`,
      io,
    )
  }
  return explanation.decision === 'deny' ? EXIT.finding : EXIT.ok
}

/** What `/api/explain` answers. A client that is refused has no target that matters. */
const liveExplanation = z.object({
  target: z.string().optional(),
  decision: z.enum(['allow', 'deny', 'prove', 'report']),
  steps: z.array(z.object({ question: z.string(), answer: z.string(), passed: z.boolean() })),
  verdict: z.string(),
  policy: z.string().optional(),
  mode: z.string().optional(),
  client: z.string().nullable().optional(),
})
const problem = z.object({ error: z.string() })
