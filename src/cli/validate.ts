/** `sallyport validate`: every mistake of a configuration file at once. */
import { ruleName } from '../policy/rules.ts'
import { findFileProblem } from './configured-files.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export function validate(file: string | undefined, options: { readonly json?: boolean }, io: Io): ExitCode {
  const read = readConfig(file)
  switch (read.kind) {
    case 'unreadable':
      io.stderr.write(`sallyport: ${read.message}\n`)
      return EXIT.usage
    case 'invalid':
      if (options.json) io.stdout.write(`${JSON.stringify({ valid: false, issues: read.issues })}\n`)
      else {
        printIssues(read.issues, read.text, io)
        io.stderr.write(`${read.issues.length} mistake${read.issues.length === 1 ? '' : 's'}\n`)
      }
      return EXIT.finding
    case 'config': {
      const problem = findFileProblem(read.config)
      if (problem !== undefined) {
        const issue = { source: read.file, path: '', message: problem }
        if (options.json) io.stdout.write(`${JSON.stringify({ valid: false, issues: [issue] })}\n`)
        else io.stderr.write(`${read.file}: ${problem}\n1 mistake\n`)
        return EXIT.finding
      }
      const { allow, deny, mode, hash } = read.config.policy
      if (options.json) {
        const facts = {
          valid: true,
          policy: hash,
          mode,
          allow: allow.length,
          deny: deny.length,
          notices: read.notices,
        }
        io.stdout.write(`${JSON.stringify(facts)}\n`)
      } else {
        for (const notice of read.notices) io.stderr.write(`notice: ${notice}\n`)
        io.stdout.write(
          `${read.file}: valid; ${new Set(allow.map(ruleName)).size} allowed, ${deny.length} denied, mode ${mode}, ${hash}\n`,
        )
      }
      return EXIT.ok
    }
  }
}
