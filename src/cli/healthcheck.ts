/** `sallyport healthcheck`: for a container without a shell. Silent when all is well. */
import { readAdmin } from '../config/read-admin.ts'
import { askAdmin } from './ask-admin.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export interface HealthcheckOptions {
  readonly config?: string
  /** Whether the process lives, ready or not. */
  readonly live?: boolean
}

/** A file that is wrong by now is said, and is no answer: the gate runs on with the one before. */
export async function healthcheck(options: HealthcheckOptions, io: Io): Promise<ExitCode> {
  const read = readConfig(options.config)
  if (read.kind === 'unreadable') io.stderr.write(`sallyport: ${read.message}\n`)
  if (read.kind === 'invalid') printIssues(read.issues, read.text, io)
  const admin =
    read.kind === 'config' ? read.config.admin : readAdmin(read.kind === 'invalid' ? read.text : '')
  // Whether it lives is told to anybody, also while the file of the token cannot be read.
  const asked = options.live
    ? await askAdmin({ ...admin, token: null, tokenFile: null }, '/healthz')
    : await askAdmin(admin, '/readyz')
  if (asked.kind === 'nobody') {
    io.stderr.write(`sallyport: ${asked.why}\n`)
    return admin.listen === null ? EXIT.usage : EXIT.finding
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
