/** The table of outcomes in README.md, made from the registry and read back out of the file. */
import { OUTCOMES, type OutcomeEntry } from '../../src/policy/reasons.ts'

const START = '<!-- outcomes:start -->'
const END = '<!-- outcomes:end -->'

/** The registry as a Markdown table; `alert` stands where a TLS alert takes the place of an HTTP status. */
export function outcomeTable(): string {
  return ['| Code | Status | Meaning | Advice |', '| --- | --- | --- | --- |', ...outcomeRows()].join('\n')
}

/** One row for each outcome, in the order of the registry. */
export function outcomeRows(): readonly string[] {
  return Object.entries<OutcomeEntry>(OUTCOMES).map(([code, { status, alert, meaning, advice }]) => {
    const answer = status ?? (alert === undefined ? '-' : 'alert')
    return `| ${[`\`${code}\``, answer, meaning.replaceAll('|', '\\|'), advice.replaceAll('|', '\\|')].join(' | ')} |`
  })
}

/** The rows of the table between the two markers, without the padding that a formatter adds; none without markers. */
export function writtenRows(markdown: string): readonly string[] {
  const start = markdown.indexOf(START)
  const end = markdown.indexOf(END, start)
  if (start === -1 || end === -1) return []
  return markdown
    .slice(start + START.length, end)
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.trimEnd().replace(/ +\|/g, ' |').replace(/\| +/g, '| '))
}
