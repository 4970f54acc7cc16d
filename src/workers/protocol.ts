/**
 * What the supervisor and its workers say to each other: plain data over the IPC channel. Audit lines go another way, as
 * they are, down a pipe.
 */
import type { DnsEntry, TunnelList } from '../admin/view.ts'
import type { Config, ConfigOverrides } from '../config/load.ts'
import type { Element } from '../firewall/ruleset.ts'
import type { Totals } from '../audit/scribe.ts'
import type { Figures } from '../metrics/figures.ts'
import type { Endpoint, Wire } from '../wire/types.ts'

/** The worker's descriptor for audit lines; 0 to 2 are as usual, 3 is the IPC channel. */
export const LINES_FD = 4

/** What a worker needs to be the same gate as the others: the text that the supervisor has read, not the file's name. */
export interface Setup {
  readonly text: string
  readonly name: string
  readonly overrides: ConfigOverrides
  /** Rules expire by this clock reading in all workers alike. */
  readonly nowMs: number
  readonly listen: Config['listen']
}

export type ToWorker =
  | { readonly kind: 'setup'; readonly setup: Setup }
  /** Another configuration to put in force; answered with `reloaded`. One at a time. */
  | { readonly kind: 'reload'; readonly setup: Setup }
  /** The first `lines` lines have been dealt with; `ok`: they are written. */
  | { readonly kind: 'written'; readonly lines: number; readonly ok: boolean; readonly accepting: boolean }
  /** What became of the elements of that number. */
  | { readonly kind: 'admitted'; readonly id: number; readonly ok: boolean }
  /** Answered with `answer`. */
  | { readonly kind: 'ask'; readonly id: number; readonly question: Question }
  /** Once: drain. Again: at once. */
  | { readonly kind: 'stop' }

export type FromWorker =
  | {
      readonly kind: 'ready'
      readonly endpoints: readonly Endpoint[]
      readonly wire: Wire['name']
      readonly fallback?: string
    }
  /** Asks for addresses to be let into the packet filter, which the supervisor keeps. */
  | { readonly kind: 'admit'; readonly id: number; readonly elements: readonly Element[] }
  | { readonly kind: 'failed'; readonly message: string; readonly code?: string }
  /** `problem`: a file could not be read, and all is as it was. */
  | { readonly kind: 'reloaded'; readonly revoked: RevokedTunnels; readonly problem?: string }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answer }
  | { readonly kind: 'stopped'; readonly totals: WorkerTotals }

/** Open tunnels that the policy in force would refuse. */
export interface RevokedTunnels {
  readonly count: number
  /** The first of them. */
  readonly listed: readonly RevokedTunnel[]
}

export interface RevokedTunnel {
  /** As the tunnel's records have it in `event.id`. */
  readonly id: string
  /** `host:port`. */
  readonly target: string
  /** The client's address. */
  readonly client: string
}

/** What the admin side wants to know of a worker. */
export type Question =
  | { readonly what: 'figures' }
  | { readonly what: 'tunnels'; readonly limit: number }
  | { readonly what: 'dns' }

/** What was asked for, and nothing else. */
export interface Answer {
  readonly figures?: Figures
  readonly tunnels?: TunnelList
  readonly dns?: readonly DnsEntry[]
}

export type WorkerTotals = Totals & { readonly dropped: number }
