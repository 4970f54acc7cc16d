/** A plain list, one host a line, for whatever takes one. A port is written where it is not 443. */
import { nameOf, type Plan } from './plan.ts'
import { comment, heading, text, withoutExceptions, type Rendering } from './rendering.ts'

export function renderHosts(plan: Plan): Rendering {
  const lines = plan.allow.map((entry) => `${nameOf(entry)}${entry.port === 443 ? '' : `:${entry.port}`}\n`)
  const gaps = [
    'A list says nothing of how a name is matched: *.x is meant as the subdomains of x, never x itself.',
  ]
  const wildcard = plan.allow.some(({ host }) => host.kind === 'subdomains')
  return (
    withoutExceptions(plan, 'a plain list') ??
    text(comment('#', heading(plan, 'hosts', wildcard ? gaps : [])), ...lines)
  )
}
