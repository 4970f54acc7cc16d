/** The record of denials that were counted together. */
import { explanation } from '../policy/refusal.ts'
import type { Fold } from './folding.ts'
import { decided, destinationOf, eventText, nameOf, ruleOf, type AuditRecord } from './record.ts'
import { members, text } from './json-text.ts'

export function foldedRecord({
  scope,
  attempt,
  refusal,
  count,
  differing,
  firstMs,
  lastMs,
}: Fold): AuditRecord {
  const byHost = scope === 'host'
  const { target, clientRule } = attempt
  const why = byHost ? explanation(refusal) : ''
  const what = { host: nameOf(attempt), client: 'many hosts', reason: 'many clients' }[scope]
  return {
    level: 'warn',
    message: `denied ${what} ${refusal.code} ${count} more times${why && `, ${why}`}`,
    outer:
      (scope === 'reason' ? '' : members({ source: { ip: attempt.client.address } })) +
      (byHost && target ? destinationOf(attempt) : '') +
      (byHost && refusal.rule ? ruleOf(refusal.rule) : ''),
    event: eventText('denials-folded', '"connection","denied"', 'success', refusal.code),
    own:
      decided(attempt) +
      (byHost ? text('client', clientRule) + text('hint', refusal.hint?.value) : '') +
      members({
        folded: {
          count,
          ...(differing > 0 && { candidate: differing }),
          first: new Date(firstMs).toISOString(),
          last: new Date(lastMs).toISOString(),
          by: scope,
        },
      }),
  }
}
