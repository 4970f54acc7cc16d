/** The step behind the head: who the client is, by address, credentials and certificate, and so which policy it has. */
import type { Attempt } from '../audit/attempt.ts'
import { parseAuthority } from '../policy/authority.ts'
import { matchClient, type ClientRule } from '../policy/clients.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import type { Policy } from '../policy/rules.ts'
import type { Connection } from '../wire/types.ts'
import { parseBasic } from './basic.ts'
import type { Request } from './read-head.ts'
import type { PasswordVerdict, VerifyPassword } from './verify-password.ts'

export interface IdentifyOptions {
  /** `clients.rules` that an address is eligible for, in order. */
  readonly rulesFor: (address: string) => readonly ClientRule[]
  /** The policy of clients that no rule fits; absent: they are refused. */
  readonly others: (() => Policy) | undefined
  /** Absent where no password file is configured: then credentials mean nothing here. */
  readonly verify: VerifyPassword | undefined
}

/**
 * Answers with the client's policy, or with a refusal; at once unless a password has to be verified. What was proven is
 * noted on the attempt.
 */
export type Identify = (
  client: Connection,
  head: Request,
  attempt: Attempt,
) => Policy | Refusal | Promise<Policy | Refusal>

export function createIdentify({ rulesFor, others, verify }: IdentifyOptions): Identify {
  function conclude(client: Connection, attempt: Attempt): Policy | Refusal {
    const names = client.certificate?.names
    const match = matchClient(rulesFor(attempt.client.address), {
      ...(attempt.user !== undefined && { user: attempt.user }),
      ...(names && { certificateNames: names }),
    })
    if (names) attempt.certificateNames = names
    switch (match.kind) {
      case 'challenge':
        return refusal('credentials_missing')
      case 'other':
        return others?.() ?? refusal('client_unknown')
      case 'rule':
        attempt.clientRule = match.rule.name
        return match.rule.policy
    }
  }
  function judge(
    verdict: PasswordVerdict | undefined,
    user: string,
    client: Connection,
    attempt: Attempt,
  ): Policy | Refusal {
    switch (verdict) {
      case 'right':
        attempt.user = user
        return conclude(client, attempt)
      case 'wrong':
        return refusal('credentials_wrong')
      case 'busy':
        return refusal('too_many_logins')
      case undefined:
        return refusal('client_gone', { detail: 'while its password was verified' })
    }
  }
  function identify(
    client: Connection,
    head: Request,
    attempt: Attempt,
  ): Policy | Refusal | Promise<Policy | Refusal> {
    const problem = client.certificate?.problem
    if (problem !== undefined) return refusal('certificate_required', { detail: problem })
    if (!verify || !head.proxyAuthorization) return conclude(client, attempt)
    const credentials = parseBasic(head.proxyAuthorization)
    if (!credentials) return refusal('credentials_wrong', { detail: 'not one Basic field' })
    const verdict = verify(credentials, attempt.client.address)
    return verdict instanceof Promise
      ? Promise.race([verdict, client.gone]).then((late) =>
          settled(judge(late ?? undefined, credentials.user, client, attempt), head, attempt),
        )
      : judge(verdict, credentials.user, client, attempt)
  }
  return (client, head, attempt) => {
    const result = identify(client, head, attempt)
    return result instanceof Promise ? result : settled(result, head, attempt)
  }
}

/** Notes under which policy the attempt goes on; a refused one says what it wanted. */
function settled(result: Policy | Refusal, head: Request, attempt: Attempt): Policy | Refusal {
  if ('kind' in result) {
    const authority = parseAuthority(head.target)
    if (authority.kind !== 'malformed') {
      attempt.target = { host: authority.host, port: authority.port, kind: authority.kind }
    }
  } else {
    attempt.policyHash = result.hash
    attempt.mode = result.mode
  }
  return result
}
