/** `sallyport healthcheck`: for a container without a shell. Silent when all is well. */
import { askAdmin } from './ask-admin.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export interface HealthcheckOptions {
  readonly config?: string
  /** Whether the process lives, ready or not. */
  readonly live?: boolean
}

export async function healthcheck(options: HealthcheckOptions, io: Io): Promise<ExitCode> {
  const read = readConfig(options.config)
  if (read.kind === 'unreadable') {
    io.stderr.write(`sallyport: ${read.message}\n`)
    return EXIT.usage
  }
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const asked = await askAdmin(read.config, options.live ? '/healthz' : '/readyz')
  if (asked.kind === 'nobody') {
    io.stderr.write(`sallyport: ${asked.why}\n`)
    return read.config.admin.listen === null ? EXIT.usage : EXIT.finding
  }
  if (asked.status === 200) return EXIT.ok
  io.stderr.write(`sallyport: ${whatFails(asked.body) ?? `status ${asked.status}`}\n`)
  return EXIT.finding
}

function whatFails(body: unknown): string | undefined {
  if (typeof body !== 'object' || body === null || !('checks' in body) || !Array.isArray(body.checks))
    return undefined
  const checks: readonly { ok?: unknown; name?: unknown; detail?: unknown }[] = body.checks
  const failed = checks.filter(({ ok }) => ok !== true)
  return failed.map(({ name, detail }) => `${String(name)}: ${String(detail)}`).join('; ') || undefined
}
