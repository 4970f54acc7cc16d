/** Which denials a review looks at: `--since`, `--until`, `--client`, `--host`, `--reason`. */
import { canonicalAddress, inBlocks, parseBlock } from '../policy/addresses.ts'
import type { Denial } from './denial.ts'

export interface Filter {
  /** Milliseconds since the epoch, both inclusive. */
  readonly since?: number
  readonly until?: number
  /** A denial passes when it fits one of each that is given. */
  readonly clients?: readonly string[]
  readonly hosts?: readonly string[]
  readonly reasons?: readonly string[]
}

export interface Sieve {
  /** Whether a record of this time is looked at at all. */
  readonly inTime: (timeMs: number) => boolean
  readonly passes: (denial: Denial) => boolean
}

export function compileFilter(filter: Filter): Sieve {
  const { since = Number.NEGATIVE_INFINITY, until = Number.POSITIVE_INFINITY } = filter
  const clients = filter.clients?.map(clientTest)
  const hosts = filter.hosts?.map(hostTest)
  const reasons = filter.reasons && new Set(filter.reasons)
  return {
    inTime: (timeMs) => timeMs >= since && timeMs <= until,
    passes: (denial) =>
      (!reasons || reasons.has(denial.reason)) &&
      (!hosts || hosts.some((fits) => fits(denial.host))) &&
      (!clients || clients.some((fits) => fits(denial))),
  }
}

/** A host as recorded, `*.x` for the subdomains of x, or `*` for every host. */
export function hostTest(pattern: string): (host: string | null) => boolean {
  const wanted = pattern.toLowerCase()
  if (wanted === '*') return () => true
  if (wanted.startsWith('*.')) return (host) => host?.endsWith(wanted.slice(1)) ?? false
  return (host) => host === wanted || host === pattern
}

/** An address, a block such as `10.1.0.0/16`, or a user's name. */
function clientTest(wanted: string): (denial: Denial) => boolean {
  const block = wanted.includes('/') ? parseBlock(wanted) : undefined
  if (block)
    return ({ client }) =>
      client !== null && canonicalAddress(client) !== undefined && inBlocks(client, [block])
  return ({ client, user }) => client === wanted || user === wanted
}
