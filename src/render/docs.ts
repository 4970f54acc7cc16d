/** A Markdown table for a change request: what has to be opened, for what, and who asked for it. */
import type { Rule } from '../policy/rules.ts'
import { nameOf, type Plan } from './plan.ts'
import { heading, text, type Rendering } from './rendering.ts'

export function renderDocs(plan: Plan): Rendering {
  const rows = plan.allow.map((entry) => [
    `\`${nameOf(entry)}\``,
    String(entry.port),
    entry.sni === 'require' ? 'HTTPS' : 'TCP',
    cell([...new Set(entry.rules.flatMap(({ reason }) => reason ?? []))].join('; ')),
    cell(entry.rules.map(why).join('; ')),
  ])
  const denied = plan.exceptions.map(
    (entry) => `- \`${nameOf(entry)}\` port ${entry.port}: ${cell(entry.rule.reason ?? why(entry.rule))}\n`,
  )
  return text(
    `## Outbound connections\n\n`,
    heading(plan, 'docs', [])
      .map((line) => `${line}\n`)
      .join(''),
    '\nNew connections go out only; inwards, only replies (established, related). The hosts have several addresses that\n' +
      'change with the TTL of their DNS records (60 s is usual): a rule by address has to be updated at the TTL.\n\n',
    table(['Hostname', 'Port', 'Protocol', 'Notes', 'Why'], rows),
    ...(denied.length > 0 ? ['\nDenied in spite of a wildcard above:\n\n', ...denied] : []),
  )
}

function why(rule: Rule): string {
  const owner = rule.owner === undefined ? '' : `, owner ${rule.owner}`
  return `${rule.ruleset}${owner}${rule.expires === undefined ? '' : `, until ${rule.expires}`}`
}

/** Text of people inside a table: a bar or a line break would end the cell, and nothing is markup. */
function cell(words: string): string {
  return words.replace(/\s+/g, ' ').replace(/[\\|`*_<>[\]]/g, (char) => `\\${char}`)
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |\n`
  return [head, head.map(() => '---'), ...rows].map(line).join('')
}
