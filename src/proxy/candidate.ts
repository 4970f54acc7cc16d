/** Tries the policy to come on real traffic: decides beside the policy in force, and notes where the two differ. */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import type { Authority } from '../policy/authority.ts'
import { decide, type Decision } from '../policy/decide.ts'
import type { OutcomeCode } from '../policy/reasons.ts'
import type { Policy } from '../policy/rules.ts'

/** `decision` is that of the policy in force. */
export type Compare = (attempt: Attempt, authority: Authority, decision: Decision) => void

/**
 * @param fallback whose hash names the candidate where it has no policy for a client
 * @param policyOf what the candidate has for the client of an attempt; nothing where it would refuse the client
 */
export function createCandidate(
  fallback: Policy,
  policyOf: (attempt: Attempt) => Policy | undefined,
  clock: Clock,
): Compare {
  return (attempt, authority, decision) => {
    const policy = policyOf(attempt)
    const reason = policy ? denialOf(decide(policy, authority, clock.wallMs())) : 'client_unknown'
    if ((reason === undefined) === (denialOf(decision) === undefined)) return
    attempt.candidate = {
      decision: reason === undefined ? 'allowed' : 'denied',
      ...(reason !== undefined && { reason }),
      policy: (policy ?? fallback).hash,
    }
  }
}

/** What `enforce` says: two policies are compared, not their modes. */
function denialOf(decision: Decision): OutcomeCode | undefined {
  return decision.kind === 'deny' || decision.kind === 'report' ? decision.denial.code : undefined
}
