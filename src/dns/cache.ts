/**
 * Answers by TTL. The promise: an answer serves a new tunnel only while its TTL runs (serve-stale, off by default,
 * is asked for separately). One question is in flight for each name and type, however many wait for it.
 */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { Query, QueryResult, RecordType } from './query.ts'

export type LookupSource = 'hit' | 'miss' | 'prefetched' | 'stale'

export interface Lookup {
  readonly result: QueryResult
  /** How long ago the answer arrived. */
  readonly ageMs: number
  readonly source: LookupSource
}

export interface CacheOptions {
  readonly prefetch: boolean
  /** Longer TTLs are cut to this. */
  readonly maxTtlMs: number
  /** How long "no such name" and "no such record" are kept; 0: not at all. */
  readonly negativeTtlMs: number
  /** How long past its TTL an answer may still be asked for with {@link DnsCache.stale}. */
  readonly staleOnErrorMs: number
  /** Entries kept, least recently used out first; two to a name. */
  readonly maxEntries?: number
}

/** One answer as it stands in the cache. */
export interface CachedAnswer {
  readonly name: string
  readonly type: string
  readonly result: QueryResult['kind']
  readonly addresses: readonly string[]
  readonly ageMs: number
  /** Until it is not used any more. */
  readonly leftMs: number
  readonly prefetched: boolean
}

interface Entry {
  readonly result: QueryResult
  readonly fetchedAtMs: number
  readonly expiresAtMs: number
  readonly prefetched: boolean
  used: boolean
  cancelPrefetch: () => void
}

const DEFAULT_MAX_ENTRIES = 2048
/** A name in use is asked for again when this part of its TTL has passed. */
const PREFETCH_AT = 0.9

export class DnsCache {
  readonly #query: Query
  readonly #clock: Clock
  readonly #options: CacheOptions
  readonly #inFlight = new Map<string, Promise<QueryResult>>()
  /** Names that somebody waits for while they are being prefetched: in use, then. */
  readonly #wanted = new Set<string>()
  readonly #entries: LRUCache<string, Entry>

  constructor(query: Query, clock: Clock, options: CacheOptions) {
    this.#query = query
    this.#clock = clock
    this.#options = options
    this.#entries = new LRUCache({
      max: options.maxEntries ?? DEFAULT_MAX_ENTRIES,
      dispose: (entry) => entry.cancelPrefetch(),
    })
  }

  /** Answers from the cache at once, or with a promise when it has to ask. The promise never rejects. */
  lookup(name: string, type: RecordType): Lookup | Promise<Lookup> {
    const entry = this.#entries.get(`${type} ${name}`)
    const now = this.#clock.monotonicMs()
    if (entry && now < entry.expiresAtMs) {
      entry.used = true
      return {
        result: entry.result,
        ageMs: now - entry.fetchedAtMs,
        source: entry.prefetched ? 'prefetched' : 'hit',
      }
    }
    return this.#fetch(name, type, false).then((result) => ({ result, ageMs: 0, source: 'miss' }))
  }

  /** An expired answer that may serve while the resolver fails (RFC 8767); never one older than allowed. */
  stale(name: string, type: RecordType): Lookup | undefined {
    const entry = this.#entries.peek(`${type} ${name}`)
    const now = this.#clock.monotonicMs()
    if (entry?.result.kind !== 'answer' || now >= entry.expiresAtMs + this.#options.staleOnErrorMs)
      return undefined
    return { result: entry.result, ageMs: now - entry.fetchedAtMs, source: 'stale' }
  }

  get size(): number {
    return this.#entries.size
  }

  /** What it holds and may still be used, most recently used first. */
  list(): readonly CachedAnswer[] {
    const now = this.#clock.monotonicMs()
    return [...this.#entries.entries()].flatMap(([key, { result, fetchedAtMs, expiresAtMs, prefetched }]) => {
      if (now >= expiresAtMs) return []
      const space = key.indexOf(' ')
      return {
        name: key.slice(space + 1),
        type: key.slice(0, space),
        result: result.kind,
        addresses: result.kind === 'answer' ? result.addresses : [],
        ageMs: now - fetchedAtMs,
        leftMs: expiresAtMs - now,
        prefetched,
      }
    })
  }

  /** Forgets everything and stops refreshing. */
  clear(): void {
    this.#entries.clear()
  }

  #fetch(name: string, type: RecordType, prefetched: boolean): Promise<QueryResult> {
    const key = `${type} ${name}`
    const waiting = this.#inFlight.get(key)
    if (waiting) {
      if (!prefetched) this.#wanted.add(key)
      return waiting
    }
    const answer = this.#query(name, type).then((result) => {
      this.#inFlight.delete(key)
      this.#store(name, type, result, prefetched)
      this.#wanted.delete(key)
      return result
    })
    this.#inFlight.set(key, answer)
    return answer
  }

  #store(name: string, type: RecordType, result: QueryResult, prefetched: boolean): void {
    const key = `${type} ${name}`
    const ttlMs = this.#ttlMs(result)
    if (ttlMs <= 0) {
      // A failure says nothing about the name: an older answer stays, for as long as its own TTL and serve-stale
      // allow. A fresh answer with TTL 0 replaces it by being used once and not kept.
      if (result.kind === 'answer') this.#entries.delete(key)
      return
    }
    const fetchedAtMs = this.#clock.monotonicMs()
    const entry: Entry = {
      result,
      fetchedAtMs,
      expiresAtMs: fetchedAtMs + ttlMs,
      prefetched,
      // Whoever asked is using it; a prefetched answer has to be used to be refreshed again.
      used: !prefetched || this.#wanted.has(key),
      cancelPrefetch: () => undefined,
    }
    if (this.#options.prefetch && result.kind === 'answer') {
      entry.cancelPrefetch = this.#clock.setTimer(() => {
        if (entry.used) void this.#fetch(name, type, true)
      }, ttlMs * PREFETCH_AT)
    }
    this.#entries.set(key, entry)
  }

  #ttlMs(result: QueryResult): number {
    switch (result.kind) {
      case 'answer':
        return Math.min(result.ttlSeconds * 1000, this.#options.maxTtlMs)
      case 'nxdomain':
      case 'nodata':
        return this.#options.negativeTtlMs
      case 'failed':
      case 'timeout':
        return 0
    }
  }
}
