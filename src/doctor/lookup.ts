/**
 * The DNS step: every resolver is asked by itself, side by side, so that the report can say which one answered and which
 * did not. The gate asks them in their order (c-ares), so the first one with an answer is the one that counts.
 */
import { Resolver } from 'node:dns/promises'
import { createQuery, type QueryResult } from '../dns/query.ts'
import type { DnsFacts, ServerAnswer } from './report.ts'

/** Never rejects. */
export type LookUp = (host: string) => Promise<DnsFacts>

export interface LookUpOptions {
  /** Addresses with optional ports, at least one. */
  readonly servers: readonly string[]
  readonly timeoutMs: number
  readonly tries: number
  /** Static answers by host. */
  readonly hosts: Readonly<Record<string, readonly string[]>>
}

/** resolv.conf(5) takes no more either. */
export const MAX_SERVERS = 3
/** Links of a CNAME chain that are followed. */
const MAX_LINKS = 8
/** The chain is told for the reader's sake; it must not hold up the rest for long. */
const CHAIN_TIMEOUT_MS = 2000

/** The most that a lookup takes, milliseconds. */
export function lookUpBoundMs({ timeoutMs, tries }: Pick<LookUpOptions, 'timeoutMs' | 'tries'>): number {
  return timeoutMs * tries + CHAIN_TIMEOUT_MS
}

export function createLookUp(options: LookUpOptions): LookUp {
  const { timeoutMs, tries } = options
  const servers = options.servers.slice(0, MAX_SERVERS).map((server) => ({
    server,
    query: createQuery({ servers: [server], timeoutMs, tries }),
  }))
  return async (host) => {
    const fixed = Object.hasOwn(options.hosts, host) ? options.hosts[host] : undefined
    if (fixed) return staticFacts(fixed)
    const late: QueryResult = { kind: 'timeout', code: 'ETIMEOUT' }
    const answers = await Promise.all(
      servers.map(async ({ server, query }): Promise<Answered> => {
        const [six, four] = await Promise.all([
          // c-ares does not bound an answer that trickles in over TCP.
          within(query(host, 'AAAA'), timeoutMs * tries, late),
          within(query(host, 'A'), timeoutMs * tries, late),
        ])
        return combine(server, four, six)
      }),
    )
    const chosen = choose(answers)
    const cnames =
      chosen.said.kind === 'answer'
        ? await within(followChain(host, chosen.said.server), CHAIN_TIMEOUT_MS, [])
        : []
    return {
      resolver: chosen.said.server,
      asked: answers.map((answer) => answer.said),
      addresses: chosen.addresses,
      ...(chosen.ttlSeconds !== undefined && { ttlSeconds: chosen.ttlSeconds }),
      cnames,
      ipv6: chosen.ipv6,
    }
  }
}

function staticFacts(addresses: readonly string[]): DnsFacts {
  const ipv6 = addresses.some((address) => address.includes(':')) ? 'yes' : 'no'
  return { resolver: 'static', asked: [], addresses, cnames: [], ipv6 }
}

interface Answered {
  readonly said: ServerAnswer
  readonly addresses: readonly string[]
  readonly ttlSeconds?: number
  readonly ipv6: DnsFacts['ipv6']
}

/** As the gate's resolver reads two answers: addresses of either family first, then "no such name", then failures. */
function combine(server: string, four: QueryResult, six: QueryResult): Answered {
  const both = [six, four]
  const found = both.flatMap((result) => (result.kind === 'answer' ? [result] : []))
  const unanswered = six.kind === 'timeout' || six.kind === 'failed'
  const ipv6 = six.kind === 'answer' ? 'yes' : unanswered ? 'unanswered' : 'no'
  if (found.length > 0) {
    return {
      said: { server, kind: 'answer' },
      addresses: found.flatMap((result) => result.addresses),
      ttlSeconds: Math.min(...found.map((result) => result.ttlSeconds)),
      ipv6,
    }
  }
  for (const kind of ['nxdomain', 'failed', 'timeout', 'nodata'] as const) {
    const result = both.find((candidate) => candidate.kind === kind)
    if (result && result.kind !== 'answer') {
      return { said: { server, kind, code: result.code }, addresses: [], ipv6 }
    }
  }
  return { said: { server, kind: 'nodata' }, addresses: [], ipv6 }
}

/** The first resolver that said something about the name; else the first one. */
function choose(answers: readonly Answered[]): Answered {
  const spoke = answers.find(({ said }) => SPOKE.has(said.kind))
  const chosen = spoke ?? answers.find(({ said }) => said.kind === 'failed') ?? answers[0]
  return chosen ?? { said: { server: 'none', kind: 'timeout' }, addresses: [], ipv6: 'unanswered' }
}

const SPOKE: ReadonlySet<ServerAnswer['kind']> = new Set(['answer', 'nxdomain', 'nodata'])

async function followChain(host: string, server: string): Promise<readonly string[]> {
  const resolver = new Resolver({ timeout: CHAIN_TIMEOUT_MS, tries: 1, maxTimeout: CHAIN_TIMEOUT_MS })
  resolver.setServers([server])
  const names: string[] = []
  for (let name = host; names.length < MAX_LINKS;) {
    const next = await resolver.resolveCname(name).then(
      (found) => found[0]?.toLowerCase(),
      () => undefined,
    )
    if (next === undefined || next === host || names.includes(next)) break
    names.push(next)
    name = next
  }
  return names
}

async function within<T>(promise: Promise<T>, ms: number, otherwise: T): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<T>((resolve) => {
    timer = setTimeout(() => resolve(otherwise), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
