/** What is wrong with a configuration, and how it is shown. */

export interface ConfigIssue {
  /** The file's name, or the command-line option that the value came from. */
  readonly source: string
  /** 1-based; absent where the value has no place in a file. */
  readonly line?: number
  readonly column?: number
  /** Where in the configuration, such as `policy.allow[0].host`; empty for the whole file. */
  readonly path: string
  readonly message: string
}

/** One line: `file:line:column: path: message`. */
export function formatIssue(issue: ConfigIssue): string {
  const place = issue.line === undefined ? issue.source : `${issue.source}:${issue.line}:${issue.column ?? 1}`
  return [place, issue.path, issue.message].filter((part) => part !== '').join(': ')
}

/** The line of the file with a caret under the spot, indented; empty when the issue has no place. */
export function formatExcerpt(issue: ConfigIssue, text: string): string {
  if (issue.line === undefined) return ''
  const line = text.split('\n')[issue.line - 1]?.replace(/\r$/, '').replaceAll('\t', ' ')
  if (line === undefined) return ''
  const number = String(issue.line)
  const gutter = ' '.repeat(number.length)
  return `  ${number} | ${line}\n  ${gutter} | ${' '.repeat((issue.column ?? 1) - 1)}^\n`
}
