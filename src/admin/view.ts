/**
 * What the admin side asks of the processes that carry tunnels: this one, or workers. Plain data, so that it can cross
 * from one process to another. Nothing here rejects: a process that does not answer in time is missing from the answer.
 */
import type { CachedAnswer } from '../dns/cache.ts'
import type { Figures } from '../metrics/figures.ts'

export interface TunnelEntry {
  /** As the tunnel's records have it in `event.id`. */
  readonly id: string
  /** `address:port` of the client. */
  readonly client: string
  readonly user?: string
  readonly host: string
  readonly port: number
  /** Where it was connected to. */
  readonly address?: string
  /** The rule that allowed it; none in mode report. */
  readonly rule?: string
  readonly ruleset?: string
  readonly openSeconds: number
  readonly bytesUp: number
  readonly bytesDown: number
  /** A reload has taken its permission away; it goes on as `policy.onRevoke` says. */
  readonly revoked: boolean
}

export interface TunnelList {
  readonly total: number
  /** The newest, as many as were asked for. */
  readonly tunnels: readonly TunnelEntry[]
}

export interface DnsEntry extends CachedAnswer {
  /** Which worker has it, from 1; absent where there is one process. */
  readonly worker?: number
}

/** How many processes serve, of how many there should be. */
export interface Attendance {
  readonly serving: number
  readonly of: number
}

export interface GateView {
  readonly attendance: Attendance
  figures(): Promise<Figures>
  tunnels(limit: number): Promise<TunnelList>
  dns(): Promise<readonly DnsEntry[]>
}

/** The same of one process, without waiting. */
export interface ProcessView {
  figures(): Figures
  tunnels(limit: number): TunnelList
  dns(): readonly CachedAnswer[]
}

/** Across processes: the newest of all. */
export function mergeTunnels(lists: readonly TunnelList[], limit: number): TunnelList {
  return {
    total: lists.reduce((sum, { total }) => sum + total, 0),
    tunnels: lists
      .flatMap(({ tunnels }) => tunnels)
      .toSorted((a, b) => a.openSeconds - b.openSeconds)
      .slice(0, limit),
  }
}
