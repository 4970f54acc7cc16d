/** The addresses of one host now, both families, vetted as the gate does it; and for how long they hold. */
import type { Query, QueryResult, RecordType } from '../dns/query.ts'
import type { Guard } from '../proxy/guard.ts'
import type { Element } from './ruleset.ts'

export type HostAddresses =
  | {
      readonly kind: 'addresses'
      readonly addresses: readonly string[]
      readonly lifeMs: number
      /** One family could not be had, and why: what there is holds, but it is not all. */
      readonly lacking?: string
    }
  /** `why` in our own words. */
  | { readonly kind: 'none'; readonly why: string }

export interface LookUpOptions {
  readonly query: Query
  readonly guard: Guard
  /** `dns.hosts`: never asked for. */
  readonly staticHosts: Readonly<Record<string, readonly string[]>>
  readonly maxTtlMs: number
}

const FAMILIES: readonly RecordType[] = ['A', 'AAAA']

export async function lookUp(
  host: string,
  ports: readonly number[],
  { query, guard, staticHosts, maxTtlMs }: LookUpOptions,
): Promise<HostAddresses> {
  const fixed = staticHosts[host]
  const results: readonly QueryResult[] = fixed
    ? [{ kind: 'answer', addresses: fixed, ttlSeconds: maxTtlMs / 1000 }]
    : await Promise.all(FAMILIES.map((family) => query(host, family)))
  const answers = results.flatMap((result) => (result.kind === 'answer' ? [result] : []))
  if (answers.length === 0) return { kind: 'none', why: whyNone(results) }
  const addresses = answers.flatMap((answer) => answer.addresses)
  for (const port of ports) {
    const prohibited = guard(addresses, port)
    if (prohibited) return { kind: 'none', why: prohibited.detail ?? prohibited.code }
  }
  const lifeMs = Math.min(maxTtlMs, ...answers.map(({ ttlSeconds }) => ttlSeconds * 1000))
  const lacking = results.flatMap((result, index) =>
    result.kind === 'failed' || result.kind === 'timeout' ? [`${FAMILIES[index]}: ${whyNone([result])}`] : [],
  )
  return { kind: 'addresses', addresses, lifeMs, ...(lacking[0] !== undefined && { lacking: lacking[0] }) }
}

export function elementsOf(
  { addresses, lifeMs }: Extract<HostAddresses, { kind: 'addresses' }>,
  ports: readonly number[],
  graceMs: number,
): readonly Element[] {
  return addresses.flatMap((address) =>
    ports.map((port): Element => ({ address, port, timeoutMs: lifeMs + graceMs })),
  )
}

function whyNone(results: readonly QueryResult[]): string {
  const kinds = new Set(results.map(({ kind }) => kind))
  if (kinds.has('nxdomain')) return 'the resolver says that this name does not exist'
  const failed = results.find((result) => result.kind === 'failed')
  if (failed) return `the resolver gave no usable answer (${failed.code})`
  return kinds.has('timeout')
    ? 'the resolver did not answer in time'
    : 'it has neither an A nor an AAAA record'
}
