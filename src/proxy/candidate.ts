/**
 * Tries the configuration to come on real traffic: decides beside the one in force, and notes where the two differ. It
 * looks at the client's address, its rule, the target, and the addresses that DNS gave. What ends an attempt before the
 * policy decides is not compared, nor is the server name: where the check is off, nobody reads the ClientHello.
 */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import type { Authority } from '../policy/authority.ts'
import { decide, type Decision } from '../policy/decide.ts'
import type { OutcomeCode } from '../policy/reasons.ts'
import type { Policy } from '../policy/rules.ts'
import type { Guard } from './guard.ts'

/** `decision` is that of the policy in force. */
export type Compare = (attempt: Attempt, authority: Authority, decision: Decision) => void

export interface CandidateOptions {
  /** Its hash names the candidate where it has no policy for a client. */
  readonly fallback: Policy
  /** What the candidate has for the client of an attempt; nothing where it would refuse the client. */
  readonly policyOf: (attempt: Attempt) => Policy | undefined
  /** Whether an address lies in the candidate's `clients.allow`. */
  readonly clientAllowed: (address: string) => boolean
  /** With the candidate's `addresses.allow`. */
  readonly guard: Guard
  readonly clock: Clock
}

export interface Candidate {
  readonly compare: Compare
  /** The guard in force, which goes on deciding alone, with the candidate's beside it. */
  readonly beside: (guard: Guard) => Guard
}

export function createCandidate(options: CandidateOptions): Candidate {
  const { fallback, policyOf, clientAllowed, clock } = options

  function note(attempt: Attempt, denied: boolean, reason: OutcomeCode | undefined): void {
    attempt.candidate =
      denied === (reason !== undefined)
        ? undefined
        : {
            decision: reason === undefined ? 'allowed' : 'denied',
            ...(reason !== undefined && { reason }),
            policy: (policyOf(attempt) ?? fallback).hash,
          }
  }

  function reasonOf(attempt: Attempt, authority: Authority): OutcomeCode | undefined {
    if (!clientAllowed(attempt.client.address)) return 'client_not_allowed'
    const policy = policyOf(attempt)
    return policy ? denialOf(decide(policy, authority, clock.wallMs())) : 'client_unknown'
  }

  return {
    compare(attempt, authority, decision) {
      note(attempt, denialOf(decision) !== undefined, reasonOf(attempt, authority))
    },
    beside: (guard) => (addresses, port, attempt) => {
      const prohibited = guard(addresses, port)
      if (!attempt) return prohibited
      const { wouldDeny, candidate } = attempt
      // Where the two said the same before, nothing was noted.
      const already = candidate ? candidate.reason : wouldDeny?.code
      const reason = already ?? options.guard(addresses, port)?.code
      note(attempt, wouldDeny !== undefined || prohibited !== undefined, reason)
      return prohibited
    },
  }
}

/** What `enforce` says: two policies are compared, not their modes. */
function denialOf(decision: Decision): OutcomeCode | undefined {
  return decision.kind === 'deny' || decision.kind === 'report' ? decision.denial.code : undefined
}
