/** From a host to its addresses, with the evidence that the audit record carries. */
import type { Clock } from '../clock.ts'
import type { DnsCache, Lookup, LookupSource } from './cache.ts'
import type { RecordType } from './query.ts'

/** Where the addresses came from, as it stood when the tunnel was decided. */
export interface DnsEvidence {
  readonly answers: readonly string[]
  /** TTL in seconds, as the resolver gave it, of the answer with the least life left; absent for static hosts. */
  readonly ttlSeconds?: number
  /** Age of that answer in seconds. */
  readonly ageSeconds?: number
  readonly source: LookupSource | 'static'
}

export type ResolveFailure = 'dns_nxdomain' | 'dns_error' | 'dns_timeout'

export type Resolution =
  | { readonly kind: 'resolved'; readonly evidence: DnsEvidence }
  /** `detail` is what went wrong, in words; absent where the code says it all. */
  | { readonly kind: 'failed'; readonly code: ResolveFailure; readonly detail?: string }

/** Resolves a canonical hostname: at once where the answer is known, else with a promise that never rejects. */
export type Resolve = (host: string) => Resolution | Promise<Resolution>

export interface ResolverOptions {
  /** Static answers by host; a host in here is never asked for. */
  readonly hosts: Readonly<Record<string, readonly string[]>>
  /** Bound on the whole lookup, both families, all tries; milliseconds. */
  readonly deadlineMs: number
}

/**
 * How long the slower family may still take once the other has addresses (RFC 8305 §3, "Resolution Delay"): a
 * resolver that swallows AAAA questions must not slow every tunnel.
 */
const RESOLUTION_DELAY_MS = 50

export function createResolver(cache: DnsCache, clock: Clock, options: ResolverOptions): Resolve {
  const hosts = new Map(
    Object.entries(options.hosts).map(([host, answers]): [string, Resolution] => [
      host,
      { kind: 'resolved', evidence: { answers, source: 'static' } },
    ]),
  )
  return (host) => {
    const fixed = hosts.get(host)
    if (fixed) return fixed
    const asked = [cache.lookup(host, 'AAAA'), cache.lookup(host, 'A')] as const
    const conclude = (lookups: Settled): Resolution =>
      combine(lookups) ?? serveStale(cache, host, lookups) ?? explain(lookups)
    const known = asked.flatMap((lookup) => (lookup instanceof Promise ? [] : [lookup]))
    return known.length === asked.length
      ? conclude(known)
      : settle(asked, clock, options.deadlineMs).then(conclude)
  }
}

/** The lookups that arrived in time; a missing one is still pending. */
type Settled = readonly (Lookup | undefined)[]

function settle(
  asked: readonly (Lookup | Promise<Lookup>)[],
  clock: Clock,
  deadlineMs: number,
): Promise<Settled> {
  const settled: (Lookup | undefined)[] = asked.map((lookup) =>
    lookup instanceof Promise ? undefined : lookup,
  )
  return new Promise((resolve) => {
    let cancelDelay: (() => void) | undefined
    const finish = (): void => {
      cancelDeadline()
      cancelDelay?.()
      resolve([...settled])
    }
    const cancelDeadline = clock.setTimer(finish, deadlineMs)
    const review = (): void => {
      if (!settled.includes(undefined)) finish()
      else if (settled.some(hasAddresses)) cancelDelay ??= clock.setTimer(finish, patienceMs(settled))
    }
    for (const [index, lookup] of asked.entries()) {
      if (!(lookup instanceof Promise)) continue
      void lookup.then((arrived) => {
        settled[index] = arrived
        review()
      })
    }
    review()
  })
}

/** The resolution delay, cut short where an answer from the cache would outlive its TTL meanwhile. */
function patienceMs(settled: Settled): number {
  const lives = settled.flatMap((lookup) =>
    lookup?.result.kind === 'answer' && lookup.ageMs > 0
      ? [lookup.result.ttlSeconds * 1000 - lookup.ageMs - 1]
      : [],
  )
  return Math.max(0, Math.min(RESOLUTION_DELAY_MS, ...lives))
}

function hasAddresses(lookup: Lookup | undefined): boolean {
  return lookup?.result.kind === 'answer'
}

function combine(lookups: Settled): Resolution | undefined {
  const used = lookups.flatMap((lookup) =>
    lookup?.result.kind === 'answer' ? [{ ...lookup, result: lookup.result }] : [],
  )
  // The one with the least life left speaks for all: TTL and age of different answers would say nothing together.
  const [shortest] = used.toSorted((a, b) => lifeLeftMs(a) - lifeLeftMs(b))
  if (!shortest) return undefined
  // The cache's own array where it is the only one: what has vetted it knows it again.
  const single = used.length === 1 ? used[0] : undefined
  return {
    kind: 'resolved',
    evidence: {
      answers: single ? single.result.addresses : used.flatMap((lookup) => lookup.result.addresses),
      ttlSeconds: shortest.result.ttlSeconds,
      ageSeconds: Math.round(shortest.ageMs) / 1000,
      source: SOURCES.find((source) => used.some((lookup) => lookup.source === source)) ?? 'miss',
    },
  }
}

function lifeLeftMs(lookup: {
  readonly result: { readonly ttlSeconds: number }
  readonly ageMs: number
}): number {
  return lookup.result.ttlSeconds * 1000 - lookup.ageMs
}

/** The weakest source names the whole. */
const SOURCES: readonly LookupSource[] = ['stale', 'miss', 'prefetched', 'hit']

function serveStale(cache: DnsCache, host: string, lookups: Settled): Resolution | undefined {
  // "No such name" is an answer, not a failure: what it denies must not live on.
  const answered = lookups.some((lookup) => lookup?.result.kind === 'nxdomain')
  const failed = lookups.some(
    (lookup) => !lookup || lookup.result.kind === 'failed' || lookup.result.kind === 'timeout',
  )
  if (answered || !failed) return undefined
  const types: readonly RecordType[] = ['AAAA', 'A']
  return combine(types.map((type) => cache.stale(host, type)))
}

function explain(lookups: Settled): Resolution {
  const results = lookups.flatMap((lookup) => (lookup ? [lookup.result] : []))
  const kinds = new Set(results.map((result) => result.kind))
  const failed = results.find((result) => result.kind === 'failed')
  if (kinds.has('nxdomain')) return { kind: 'failed', code: 'dns_nxdomain' }
  if (failed) return { kind: 'failed', code: 'dns_error', detail: FAILURE_WORDS[failed.code] ?? failed.code }
  if (results.length < lookups.length || kinds.has('timeout')) return { kind: 'failed', code: 'dns_timeout' }
  return { kind: 'failed', code: 'dns_error', detail: 'it has neither an A nor an AAAA record' }
}

const FAILURE_WORDS: Record<string, string> = {
  ESERVFAIL: 'the resolver answered SERVFAIL',
  EREFUSED: 'the resolver answered REFUSED',
  ENOTIMP: 'the resolver answered NOTIMP',
  EFORMERR: 'the resolver answered FORMERR',
  EBADRESP: "the resolver's answer cannot be read",
  ECONNREFUSED: 'no resolver listens there',
}
