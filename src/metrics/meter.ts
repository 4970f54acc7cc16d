/**
 * Counts what the pipeline tells the audit trail, whatever of it is recorded. Plain numbers that are already there when
 * a tunnel comes: counting allocates nothing, and nothing is computed before somebody asks.
 */
import type { Audit } from '../audit/journal.ts'
import type { AuditEvent } from '../audit/record.ts'
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import type { Query, QueryResult } from '../dns/query.ts'
import { outcome, OUTCOME_CODES, type Action, type OutcomeCode } from '../policy/reasons.ts'
import { verbOf } from '../policy/refusal.ts'
import type { Counts, Figures, Grown } from './figures.ts'
import { DIAL_BOUNDS, Histogram, QUERY_BOUNDS, TUNNEL_BOUNDS } from './histogram.ts'
import { Hour } from './hour.ts'

const LOOKUP_SOURCES = ['hit', 'miss', 'prefetched', 'stale', 'static', 'failed'] as const
const QUERY_RESULTS = ['answer', 'nxdomain', 'nodata', 'failed', 'timeout'] as const

/** What only others know when somebody asks. */
export interface Surroundings {
  readonly connections: number
  readonly dropped: number
  readonly dnsEntries: number
  /** Open tunnels, with the bytes so far. */
  readonly tunnels: Iterable<{
    readonly relay: { readonly bytesUp: number; readonly bytesDown: number }
    readonly attempt: { readonly revoked?: boolean | undefined }
  }>
}

export class Meter {
  readonly #clock: Clock
  /** Decisions and ends of tunnels by code; no code is both. */
  readonly #outcomes = zeros(OUTCOME_CODES)
  readonly #wouldDeny = zeros(OUTCOME_CODES)
  readonly #candidateDenies = zeros(OUTCOME_CODES)
  readonly #candidateAllows = zeros(OUTCOME_CODES)
  #bytesUp = 0
  #bytesDown = 0
  readonly #tunnelSeconds = new Histogram(TUNNEL_BOUNDS)
  readonly #lookups = zeros(LOOKUP_SOURCES)
  readonly #queries = zeros(QUERY_RESULTS)
  readonly #querySeconds = new Histogram(QUERY_BOUNDS)
  readonly #dialConnected = new Histogram(DIAL_BOUNDS)
  readonly #dialFailed = new Histogram(DIAL_BOUNDS)
  readonly #hour = new Hour()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** The audit trail, with everything that goes there counted. */
  metered(audit: Audit): Audit {
    const note = (event: AuditEvent): void => this.note(event)
    return {
      get accepting() {
        return audit.accepting
      },
      record(event) {
        note(event)
        audit.record(event)
      },
      written: () => audit.written(),
    }
  }

  /** The resolver's questions, timed. */
  timed(query: Query): Query {
    return async (name, type) => {
      const startedMs = this.#clock.monotonicMs()
      const result = await query(name, type)
      this.#noteQuery(result, this.#clock.monotonicMs() - startedMs)
      return result
    }
  }

  note(event: AuditEvent): void {
    switch (event.kind) {
      case 'opened':
        this.#outcomes.allowed += 1
        this.#notePolicies(event.attempt)
        this.#hour.note('allowed', this.#clock.wallMs())
        this.#noteWay(event.attempt)
        return
      case 'refused': {
        const { code } = event.refusal
        this.#outcomes[code] += 1
        this.#noteCandidate(event.attempt, code)
        this.#hour.note(verbOf(event.refusal), this.#clock.wallMs())
        if (code === 'dns_nxdomain' || code === 'dns_error' || code === 'dns_timeout')
          this.#lookups.failed += 1
        this.#noteWay(event.attempt)
        return
      }
      case 'forwarded':
        this.#outcomes.allowed += 1
        this.#notePolicies(event.attempt)
        this.#hour.note('allowed', this.#clock.wallMs())
        this.#bytesUp += event.bytesUp
        this.#bytesDown += event.bytesDown
        this.#noteWay(event.attempt)
        return
      case 'closed':
        this.#outcomes[event.code] += 1
        this.#bytesUp += event.bytesUp
        this.#bytesDown += event.bytesDown
        this.#tunnelSeconds.observe(event.durationMs / 1000)
        return
      case 'lost':
        this.#outcomes.worker_lost += 1
        return
      case 'gate':
    }
  }

  figures({ connections, dropped, dnsEntries, tunnels }: Surroundings): Figures {
    let [open, revoked, bytesUp, bytesDown] = [0, 0, this.#bytesUp, this.#bytesDown]
    for (const { relay, attempt } of tunnels) {
      open += 1
      if (attempt.revoked) revoked += 1
      bytesUp += relay.bytesUp
      bytesDown += relay.bytesDown
    }
    const cpu = process.cpuUsage()
    const memory = process.memoryUsage()
    const grown: Grown = {
      connects: only(this.#outcomes, (action) => action !== 'tunnel-closed'),
      wouldDeny: only(this.#wouldDeny, (action) => action === 'tunnel-denied'),
      candidateDenies: only(this.#candidateDenies, (action) => action === 'tunnel-denied'),
      candidateAllows: only(this.#candidateAllows, (action) => action === 'tunnel-denied'),
      closed: only(this.#outcomes, (action) => action === 'tunnel-closed'),
      bytesUp,
      bytesDown,
      tunnelSeconds: this.#tunnelSeconds.figures,
      lookups: { ...this.#lookups },
      queries: { ...this.#queries },
      querySeconds: this.#querySeconds.figures,
      dialConnected: this.#dialConnected.figures,
      dialFailed: this.#dialFailed.figures,
      dropped,
      cpuUserSeconds: cpu.user / 1e6,
      cpuSystemSeconds: cpu.system / 1e6,
    }
    return {
      grown,
      standing: {
        tunnels: open,
        revoked,
        connections,
        dnsEntries,
        residentBytes: memory.rss,
        heapUsedBytes: memory.heapUsed,
        minutes: this.#hour.figures(this.#clock.wallMs()),
      },
    }
  }

  /** What was let through: what `enforce`, and the policy to come, say of it. */
  #notePolicies(attempt: Attempt): void {
    if (attempt.wouldDeny) this.#wouldDeny[attempt.wouldDeny.code] += 1
    this.#noteCandidate(attempt, undefined)
  }

  /** @param refused the code of the refusal, where it is one; in mode report what `enforce` would have said counts */
  #noteCandidate({ candidate, wouldDeny }: Attempt, refused: OutcomeCode | undefined): void {
    if (!candidate) return
    const denial = wouldDeny?.code ?? refused
    if (candidate.reason !== undefined) this.#candidateDenies[candidate.reason] += 1
    else if (denial !== undefined) this.#candidateAllows[denial] += 1
  }

  /** How the attempt got to its host, as far as it came. */
  #noteWay({ dns, tries }: Attempt): void {
    if (dns) this.#lookups[dns.source] += 1
    if (!tries) return
    for (const { result, ms } of tries) {
      const histogram = result === 'connected' ? this.#dialConnected : this.#dialFailed
      histogram.observe(ms / 1000)
    }
  }

  #noteQuery({ kind }: QueryResult, ms: number): void {
    this.#queries[kind] += 1
    this.#querySeconds.observe(ms / 1000)
  }
}

function zeros<K extends string>(keys: readonly K[]): Record<K, number> {
  const counts = Object.fromEntries(keys.map((key) => [key, 0]))
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every key has its number
  return counts as Record<K, number>
}

function only(counts: Readonly<Record<OutcomeCode, number>>, wanted: (action: Action) => boolean): Counts {
  return Object.fromEntries(
    OUTCOME_CODES.filter((code) => wanted(outcome(code).action)).map((code) => [code, counts[code]]),
  )
}
