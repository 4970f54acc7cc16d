/** The record of denials that were counted together. */
import { explanation } from '../policy/refusal.ts'
import { ruleName } from '../policy/rules.ts'
import type { Fold } from './folding.ts'
import { destinationOf, nameOf, NO_PREV, NO_SEQUENCE, RECORD_SCHEMA, type AuditRecord } from './record.ts'
import type { AttemptAction } from './actions.ts'

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
    fields: {
      ...(scope !== 'reason' && { source: { ip: attempt.client.address } }),
      ...(byHost && target && { destination: destinationOf(attempt) }),
      ...(byHost &&
        refusal.rule && { rule: { name: ruleName(refusal.rule), ruleset: refusal.rule.ruleset } }),
      event: {
        kind: 'event',
        category: ['network'],
        type: ['connection', 'denied'],
        action: 'denials-folded' satisfies AttemptAction,
        outcome: 'success',
        reason: refusal.code,
        sequence: NO_SEQUENCE,
      },
      sallyport: {
        prev: NO_PREV,
        schema: RECORD_SCHEMA,
        policy: attempt.policyHash,
        mode: attempt.mode,
        ...(byHost && clientRule !== undefined && { client: clientRule }),
        ...(byHost && refusal.hint && { hint: refusal.hint.value }),
        folded: {
          count,
          ...(differing > 0 && { candidate: differing }),
          first: new Date(firstMs).toISOString(),
          last: new Date(lastMs).toISOString(),
          by: scope,
        },
      },
    },
  }
}
