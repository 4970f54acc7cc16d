/**
 * One DNS question on the wire, by c-ares. Never getaddrinfo: no /etc/hosts, no search domains (with `ndots:5` the
 * name `cgr.dev` would first be asked as a service of the cluster), no cache of its own.
 */
import { Resolver } from 'node:dns/promises'

export type RecordType = 'A' | 'AAAA'

export type QueryResult =
  /** `ttlSeconds` is the smallest TTL of the whole CNAME chain. */
  | { readonly kind: 'answer'; readonly addresses: readonly string[]; readonly ttlSeconds: number }
  | { readonly kind: 'nxdomain'; readonly code: string }
  /** The name exists and has no record of this type. */
  | { readonly kind: 'nodata'; readonly code: string }
  | { readonly kind: 'failed'; readonly code: string }
  | { readonly kind: 'timeout'; readonly code: string }

/** Asks one question. Never rejects. */
export type Query = (name: string, type: RecordType) => Promise<QueryResult>

export interface QueryOptions {
  /** Addresses with optional ports; empty: the system's resolvers. */
  readonly servers: readonly string[]
  /** For each try, milliseconds. */
  readonly timeoutMs: number
  readonly tries: number
}

export function createQuery(options: QueryOptions): Query {
  return async (name, type) => {
    const resolver = openResolver(options)
    try {
      const records =
        type === 'A'
          ? await resolver.resolve4(name, { ttl: true })
          : await resolver.resolve6(name, { ttl: true })
      if (records.length === 0) return { kind: 'nodata', code: 'ENODATA' }
      return {
        kind: 'answer',
        addresses: records.map((record) => record.address),
        ttlSeconds: Math.min(...records.map((record) => usableTtl(record.ttl))),
      }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : 'EUNKNOWN'
      return { kind: FAILURES[code] ?? 'failed', code }
    }
  }
}

/**
 * A resolver, and so a socket, for this question alone. Questions that share one share its fate: one datagram that
 * c-ares cannot read fails every question under way there. And each has a source port of its own to be guessed.
 */
function openResolver({ servers, timeoutMs, tries }: QueryOptions): Resolver {
  // c-ares doubles the timeout for each try unless told not to.
  const resolver = new Resolver({ timeout: timeoutMs, tries, maxTimeout: timeoutMs })
  if (servers.length > 0) resolver.setServers(servers)
  return resolver
}

const FAILURES: Record<string, 'nxdomain' | 'nodata' | 'timeout'> = {
  ENOTFOUND: 'nxdomain',
  ENODATA: 'nodata',
  ETIMEOUT: 'timeout',
}

/** RFC 2181 §8: a TTL with the top bit set counts as zero. */
function usableTtl(ttl: number): number {
  return Number.isInteger(ttl) && ttl >= 0 && ttl <= 0x7fff_ffff ? ttl : 0
}
