/** What a review reads besides the logs themselves: the configuration and the list of what is expected. */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { formerFiles } from '../audit/former-files.ts'
import type { Config } from '../config/load.ts'
import { parseExpected, type ExpectedEntry } from '../review/expected.ts'
import type { Io } from './io.ts'
import { printIssues, readConfig, whyUnreadable } from './read-config.ts'
import type { ReviewOptions } from './review-options.ts'

export interface Sources {
  /** The logs. */
  readonly names: readonly string[]
  readonly expected: readonly ExpectedEntry[]
  readonly config: Config
  /** All that is read, and the audit trail: what no output may be written over. */
  readonly read: readonly string[]
}

/** Nothing where one of them cannot be used; it has been said why. */
export function readSources(files: readonly string[], options: ReviewOptions, io: Io): Sources | undefined {
  const read = readConfig(options.config)
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return undefined
  }
  if (read.kind === 'unreadable') {
    io.stderr.write(`sallyport: ${read.message}\n`)
    return undefined
  }
  const { config } = read
  const configured = config.audit.file ? withFormerFiles(config.audit.file.path) : []
  const names = files.length > 0 ? files : configured
  if (names.length === 0) {
    io.stderr.write(
      `sallyport: ${read.file} writes no records to a file (audit.file); name the log, or - for standard input\n`,
    )
    return undefined
  }
  const expected = options.expected === undefined ? [] : readExpected(options.expected, io)
  const others = [options.config, options.expected].filter((name) => name !== undefined)
  return expected && { names, expected, config, read: [...names, ...configured, ...others] }
}

/** The file and those that it was rotated to. */
function withFormerFiles(path: string): readonly string[] {
  const folder = dirname(path)
  try {
    return [...formerFiles(path, readdirSync(folder)).map((name) => join(folder, name)), path]
  } catch {
    // Opening the file says what is wrong with it.
    return [path]
  }
}

function readExpected(file: string, io: Io): readonly ExpectedEntry[] | undefined {
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    io.stderr.write(`sallyport: ${file}: ${whyUnreadable(error)}\n`)
    return undefined
  }
  const result = parseExpected(text, file)
  if (result.ok) return result.entries
  printIssues(result.issues, text, io)
  return undefined
}
