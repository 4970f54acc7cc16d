/**
 * What one process has counted, as plain data: it crosses from a worker to the supervisor, and figures of several
 * processes add up. Every key is a word of ours, never one that a client has chosen.
 */
import type { HistogramFigures } from './histogram.ts'

/** Counts by a label. */
export type Counts = Readonly<Record<string, number>>

/** Attempts that were decided in one minute. */
export type MinuteFigures = Readonly<Record<'allowed' | 'denied' | 'failed', number>>

/** Only ever grows while the process lives. */
export interface Grown {
  /** Decisions by outcome code; `allowed` for a tunnel that opened. */
  readonly connects: Counts
  /** Mode report: what `enforce` would have said, by outcome code. */
  readonly wouldDeny: Counts
  /**
   * Attempts that `policy.candidate` would deny though they were not, by the code it would deny with; and that it would
   * allow, by the code of the policy in force.
   */
  readonly candidateDenies: Counts
  readonly candidateAllows: Counts
  /** Ends of tunnels by code. */
  readonly closed: Counts
  /** Of closed and of open tunnels. */
  readonly bytesUp: number
  readonly bytesDown: number
  readonly tunnelSeconds: HistogramFigures
  /** Lookups for tunnels: the source of the answer, or `failed`. */
  readonly lookups: Counts
  /** Questions asked on the wire, by how they ended. */
  readonly queries: Counts
  readonly querySeconds: HistogramFigures
  /** Connection attempts, by whether they connected. */
  readonly dialConnected: HistogramFigures
  readonly dialFailed: HistogramFigures
  /** Connections closed without an answer. */
  readonly dropped: number
  readonly cpuUserSeconds: number
  readonly cpuSystemSeconds: number
}

/** As it is now. */
export interface Standing {
  readonly tunnels: number
  /** Those of them that a reload has taken the permission from. */
  readonly revoked: number
  readonly connections: number
  readonly dnsEntries: number
  readonly residentBytes: number
  readonly heapUsedBytes: number
  /** The last hour by minute (minutes since the epoch). */
  readonly minutes: Readonly<Record<string, MinuteFigures>>
}

export interface Figures {
  readonly grown: Grown
  readonly standing: Standing
}

/** The figures of two processes together. */
export function addFigures(a: Figures, b: Figures): Figures {
  return add(a, b)
}

/** Adds numbers, place by place; a place that only one side has is taken as it is. */
function add<T>(a: T, b: T): T {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- both have the shape T, and so has the sum
  return addTrees(a, b) as T
}

function addTrees(a: unknown, b: unknown): unknown {
  if (a === undefined) return b
  if (typeof a === 'number' && typeof b === 'number') return a + b
  if (Array.isArray(a) && Array.isArray(b)) return a.map((value, index) => addTrees(value, b[index]))
  if (typeof a !== 'object' || a === null || typeof b !== 'object' || b === null) return a
  const sum: Record<string, unknown> = { ...a }
  for (const [key, value] of Object.entries(b)) sum[key] = addTrees(sum[key], value)
  return sum
}
