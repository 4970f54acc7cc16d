/**
 * A CONNECT to an address, as chainctl sent it while its gRPC library resolved names by itself: opened only when the
 * ClientHello names an allowed host and that very address is among the host's vetted DNS answers now.
 */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import type { Resolve } from '../dns/resolver.ts'
import { canonicalAddress } from '../policy/addresses.ts'
import { parseAuthority } from '../policy/authority.ts'
import { decide, type Target } from '../policy/decide.ts'
import { authorityOf, refusal, type Refusal } from '../policy/refusal.ts'
import type { Policy } from '../policy/rules.ts'
import type { Connection } from '../wire/types.ts'
import type { Guard } from './guard.ts'
import { readServerName } from './hello.ts'

export interface ProofServices {
  readonly clock: Clock
  readonly resolve: Resolve
  readonly guard: Guard
  readonly limits: { readonly helloTimeoutMs: number }
}

/**
 * Nothing is dialled before this answers with nothing. The rule and the DNS evidence that vouch for the address are
 * noted on the attempt. In report mode a denial is noted, and passes.
 */
export async function proveAddress(
  client: Connection,
  target: Target,
  attempt: Attempt,
  policy: Policy,
  services: ProofServices,
): Promise<Refusal | undefined> {
  const denied = await findProof(client, target, attempt, policy, services)
  if (attempt.mode === 'enforce' || denied?.code === 'client_gone') return denied
  if (denied) attempt.wouldDeny ??= denied
  return undefined
}

async function findProof(
  client: Connection,
  target: Target,
  attempt: Attempt,
  policy: Policy,
  { clock, resolve, guard, limits }: ProofServices,
): Promise<Refusal | undefined> {
  const host = await readServerName(client, attempt, limits.helloTimeoutMs, clock)
  if (typeof host !== 'string') return host
  const decision = decide(policy, parseAuthority(authorityOf({ host, port: target.port })), clock.wallMs())
  if (decision.kind === 'deny' || decision.kind === 'report') return { kind: 'refusal', ...decision.denial }
  // A server name is a hostname (RFC 6066 section 3), so there is nothing more to prove.
  if (decision.kind === 'prove') return refusal('ip_literal')

  const resolution = await Promise.race([resolve(host), client.gone])
  if (!resolution) return refusal('client_gone', { detail: 'during DNS' })
  if (resolution.kind === 'failed') {
    return refusal(resolution.code, resolution.detail === undefined ? {} : { detail: resolution.detail })
  }
  attempt.rule = decision.rule
  attempt.dns = resolution.evidence
  const { answers } = resolution.evidence
  const prohibited = guard(answers, target.port)
  if (prohibited) return prohibited
  const asked = canonicalAddress(target.host)
  return answers.some((answer) => canonicalAddress(answer) === asked)
    ? undefined
    : refusal('ip_not_proven', { detail: `${host} has other addresses` })
}
