/** Whether an open tunnel would be refused by a policy that came after it. */
import type { Attempt } from '../audit/attempt.ts'
import { parseAuthority } from '../policy/authority.ts'
import { decide } from '../policy/decide.ts'
import { authorityOf } from '../policy/refusal.ts'
import type { Policy } from '../policy/rules.ts'

export interface Standing {
  /** Whether a client's address lies in `clients.allow`. */
  readonly clientAllowed: (address: string) => boolean
  /** The policy that the client has now; nothing where it would be refused. */
  readonly policyOf: (attempt: Attempt) => Policy | undefined
}

/** Decides on what the tunnel has proven: its client's credentials, its target, its server name. */
export function isRevoked(attempt: Attempt, { clientAllowed, policyOf }: Standing, nowMs: number): boolean {
  if (!clientAllowed(attempt.client.address)) return true
  const policy = policyOf(attempt)
  // A tunnel has a target.
  if (!policy || !attempt.target) return true
  const decision = decide(policy, parseAuthority(authorityOf(attempt.target)), nowMs)
  if (decision.kind !== 'prove') return decision.kind === 'deny'
  const serverName = attempt.tls?.serverName
  if (serverName === undefined) return policy.mode === 'enforce'
  const named = parseAuthority(authorityOf({ host: serverName, port: attempt.target.port }))
  return decide(policy, named, nowMs).kind === 'deny'
}
