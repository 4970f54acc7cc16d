/**
 * Verifies the registry's signatures and attestations of everything in node_modules, by `npm audit signatures`. Fails when
 * one is wrong; a registry that has none to offer, or does not answer within half a minute, is said and is no failure.
 */
import { execFile } from 'node:child_process'
import { z } from 'zod'

const TIMEOUT_MS = 30_000
const report = z.looseObject({
  invalid: z.array(z.looseObject({ name: z.string(), version: z.string() })),
  missing: z.array(z.unknown()),
})

execFile(
  'npm',
  ['audit', 'signatures', '--json'],
  { timeout: TIMEOUT_MS, encoding: 'utf8', maxBuffer: 64 * 1024 * 1024 },
  (error, stdout, stderr) => {
    const found = report.safeParse(parse(stdout))
    if (!found.success) {
      const why = error?.killed ? `no answer within ${TIMEOUT_MS / 1000} s` : lastLine(stderr)
      process.stdout.write(`signatures: nothing verified: ${why}\n`)
      return
    }
    const { invalid, missing } = found.data
    for (const { name, version } of invalid) process.stdout.write(`signatures: WRONG: ${name}@${version}\n`)
    process.stdout.write(`signatures: ${invalid.length} wrong, ${missing.length} missing\n`)
    process.exitCode = invalid.length > 0 ? 1 : 0
  },
)

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function lastLine(text: string): string {
  return text.trim().split('\n').at(-1) ?? 'no word of npm'
}
