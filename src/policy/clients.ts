/**
 * Which policy a client has: the first of `clients.rules` that fits it. Pure: facts about the client in, a rule out;
 * called by the gate for every request and by `sallyport explain`.
 */
import { inBlocks, type AddressBlock } from './addresses.ts'
import type { Policy } from './rules.ts'

/** One entry of `clients.rules`. Every condition that it states has to hold; it states at least one. */
export interface ClientRule {
  /** How records and `explain --client` call it. */
  readonly name: string
  /** The client's address lies in one of these. */
  readonly from?: readonly AddressBlock[] | undefined
  /** The client has proven to be one of these users, or any of the password file. */
  readonly users?: 'any' | readonly string[] | undefined
  /** The client's certificate, verified, bears one of these names. */
  readonly certificates?: readonly string[] | undefined
  /** Its own, or the common one where it has none. */
  readonly policy: Policy
}

export interface ClientFacts {
  readonly address: string
  /** A user whose password was verified. */
  readonly user?: string | undefined
  /** Names of a certificate that was verified. */
  readonly certificateNames?: readonly string[] | undefined
}

export type ClientMatch =
  | { readonly kind: 'rule'; readonly rule: ClientRule }
  /** The rule would fit if the client said who it is: credentials are asked for. */
  | { readonly kind: 'challenge'; readonly rule: ClientRule }
  /** No rule fits. */
  | { readonly kind: 'other' }

/** The rules that an address is eligible for, in order; what is left to check are users and certificates. */
export function rulesForAddress(rules: readonly ClientRule[], address: string): readonly ClientRule[] {
  return rules.filter(({ from }) => from === undefined || inBlocks(address, from))
}

/** The policy that a client has who has proven `facts`; nothing where it would be refused or asked for more. */
export function policyOfClient(
  { rules, others }: { readonly rules: readonly ClientRule[]; readonly others: Policy | undefined },
  facts: ClientFacts,
): Policy | undefined {
  const match = matchClient(rulesForAddress(rules, facts.address), facts)
  switch (match.kind) {
    case 'rule':
      return match.rule.policy
    case 'challenge':
      return undefined
    case 'other':
      return others
  }
}

const USER_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._@-]{0,62}[A-Za-z0-9])?$/

/** Whether the password file and `users` may have a user of this name. */
export function isUserName(text: string): boolean {
  return USER_NAME.test(text)
}

/** @param rules those for the client's address, see {@link rulesForAddress} */
export function matchClient(rules: readonly ClientRule[], facts: Omit<ClientFacts, 'address'>): ClientMatch {
  for (const rule of rules) {
    if (rule.certificates && !facts.certificateNames?.some((name) => rule.certificates?.includes(name)))
      continue
    if (rule.users === undefined) return { kind: 'rule', rule }
    if (facts.user === undefined) return { kind: 'challenge', rule }
    if (rule.users === 'any' || rule.users.includes(facts.user)) return { kind: 'rule', rule }
  }
  return { kind: 'other' }
}
