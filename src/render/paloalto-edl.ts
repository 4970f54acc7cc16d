/**
 * Palo Alto Networks PAN-OS: an External Dynamic List of type URL List. The trailing slash keeps an entry from also
 * matching `cgr.dev.example.net`; `*.x/` is one or more labels before x, never x itself. The
 * documented format knows no comments in URL lists; a line that begins with # is no URL, and PAN-OS skips what is none.
 */
import { nameOf, portsOf, type Plan } from './plan.ts'
import { comment, GAPS, heading, text, withOnePort, withoutExceptions, type Rendering } from './rendering.ts'

export function renderPaloAltoEdl(plan: Plan): Rendering {
  const [port] = portsOf(plan)
  const gaps = [
    `A list has no port: its rule needs service tcp/${port}, application ssl, action allow, and a deny rule behind it.`,
    'Use it as type URL List, not Domain List: only the slash at the end stops a name from matching longer ones.',
    GAPS.sniOnly,
    GAPS.ttl,
    GAPS.guard,
  ]
  return (
    withoutExceptions(plan, 'a PAN-OS list') ??
    withOnePort(plan, 'a PAN-OS list') ??
    text(
      comment('#', heading(plan, 'paloalto-edl', gaps)),
      ...plan.allow.map((entry) => `${nameOf(entry)}/\n`),
    )
  )
}
