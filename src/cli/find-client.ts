/** `--client ADDR|NAME`: the policy that the gate would give to that client. */
import type { Config } from '../config/load.ts'
import { canonicalAddress, inBlocks } from '../policy/addresses.ts'
import { matchClient, rulesForAddress } from '../policy/clients.ts'
import { outcome, type OutcomeCode } from '../policy/reasons.ts'
import type { Policy } from '../policy/rules.ts'

export type FoundClient =
  | {
      readonly kind: 'policy'
      readonly policy: Policy
      /** For JSON. */
      readonly facts: Readonly<Record<string, unknown>>
      /** For the first line. */
      readonly said: string
    }
  /** Refused before any target matters. */
  | { readonly kind: 'refused'; readonly facts: Readonly<Record<string, unknown>>; readonly verdict: string }
  | { readonly kind: 'unknown'; readonly verdict: string }

export function findClient({ clients, policy }: Config, wanted: string | undefined): FoundClient {
  if (wanted === undefined) return { kind: 'policy', policy, facts: {}, said: '' }
  const named = clients.rules.find(({ name }) => name === wanted)
  if (named) return withPolicy(named.policy, named.name)

  const address = canonicalAddress(wanted)
  if (address === undefined) {
    const names = clients.rules.map(({ name }) => name).join(', ') || 'none'
    return {
      kind: 'unknown',
      verdict: `sallyport: --client ${JSON.stringify(wanted)} is neither an address nor a rule of clients.rules (${names})`,
    }
  }
  if (!inBlocks(address, clients.allow)) return refused(address, 'client_not_allowed')
  const match = matchClient(rulesForAddress(clients.rules, address), {})
  switch (match.kind) {
    case 'rule':
      return withPolicy(match.rule.policy, match.rule.name)
    case 'challenge':
      return refused(address, 'credentials_missing', `; with them, see --client ${match.rule.name}`)
    case 'other':
      return clients.others === 'deny' ? refused(address, 'client_unknown') : withPolicy(policy, undefined)
  }
}

function withPolicy(policy: Policy, name: string | undefined): FoundClient {
  return {
    kind: 'policy',
    policy,
    facts: { client: name ?? null },
    said: name === undefined ? 'no rule of clients.rules, ' : `client ${name}, `,
  }
}

function refused(address: string, code: OutcomeCode, more = ''): FoundClient {
  const { meaning, advice } = outcome(code)
  return {
    kind: 'refused',
    facts: { code, address },
    verdict: `denied: ${code}, client ${address}\n${meaning}; ${advice}${more}`,
  }
}
