/** Reads a configuration file from disk and says what is wrong with it. */
import { readFileSync, statSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { formatExcerpt, formatIssue, type ConfigIssue } from '../config/issue.ts'
import { loadConfig, type Config, type ConfigOverrides } from '../config/load.ts'
import { readBundledPresets } from '../presets/bundled.ts'
import type { Io } from './io.ts'

export const DEFAULT_CONFIG_FILE = fileURLToPath(new URL('../../config/sallyport.yaml', import.meta.url))
/** Far more than a policy needs; a larger file is a mistake. */
const MAX_CONFIG_BYTES = 4 * 1024 * 1024

export type ReadConfigResult =
  | {
      readonly kind: 'config'
      readonly config: Config
      readonly notices: readonly string[]
      readonly file: string
      readonly text: string
    }
  | { readonly kind: 'invalid'; readonly issues: readonly ConfigIssue[]; readonly text: string }
  | { readonly kind: 'unreadable'; readonly message: string }

/** @param file default: the commented default configuration that ships with the program */
export function readConfig(
  file: string = DEFAULT_CONFIG_FILE,
  overrides: ConfigOverrides = {},
): ReadConfigResult {
  const name = file === DEFAULT_CONFIG_FILE ? 'config/sallyport.yaml' : file
  let text: string
  try {
    if (statSync(file).size > MAX_CONFIG_BYTES) {
      return { kind: 'unreadable', message: `${name}: larger than 4 MiB; is this the right file?` }
    }
    text = new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(file))
  } catch (error) {
    return { kind: 'unreadable', message: `${name}: ${whyUnreadable(error)}` }
  }
  const result = loadConfig({ text, name, presets: readBundledPresets(), overrides, nowMs: Date.now() })
  return result.ok
    ? { kind: 'config', config: result.config, notices: result.notices, file: name, text }
    : { kind: 'invalid', issues: result.issues, text }
}

export function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ENOENT':
      return 'no such file'
    case 'ENOTDIR':
      return 'a part of its path is no folder'
    case 'ENAMETOOLONG':
      return 'the name is too long for a file'
    case 'ELOOP':
      return 'its links go round in circles'
    case 'EACCES':
      return 'no permission to read it'
    case 'EISDIR':
      return 'a folder, not a file'
    case 'ERR_ENCODING_INVALID_ENCODED_DATA':
      return 'not UTF-8 text'
    default:
      return error instanceof Error ? error.message : String(error)
  }
}

/** Writes every issue to standard error; on a terminal with the line and a caret under the spot. */
export function printIssues(issues: readonly ConfigIssue[], text: string, io: Io): void {
  for (const issue of issues) {
    io.stderr.write(`${formatIssue(issue)}\n`)
    if (io.stderr.isTTY) io.stderr.write(formatExcerpt(issue, text))
  }
}
