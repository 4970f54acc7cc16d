/**
 * Groups denials in bounded memory. The order of records does not matter, so several inputs need no merging: any order
 * gives the same groups. What does not fit the bounds is counted, never dropped silently.
 */
import { Bins, TimeScale } from './bins.ts'
import type { Denial } from './denial.ts'
import type { Sieve } from './filter.ts'
import type { BadLine, RecordSink } from './record-reader.ts'

export const GROUP_FIELDS = ['host', 'port', 'reason', 'client', 'user', 'node'] as const
export type GroupField = (typeof GROUP_FIELDS)[number]
export const DEFAULT_GROUPING: readonly GroupField[] = ['host', 'port', 'reason']

export interface Group {
  /** The fields that the review groups by have the group's value, the others null. */
  readonly fields: Readonly<Record<GroupField, string | number | null>>
  readonly count: number
  /** Distinct client addresses. */
  readonly clients: number
  /** One of them. */
  readonly aClient: string | null
  /** Milliseconds since the epoch. */
  readonly first: number
  readonly last: number
  /** The latest hint. */
  readonly hint: string | null
  readonly bins: Bins
  /** Of the denials, those by the policy of an entry of `clients.rules`, by its name; `undefined` stands for too many. */
  readonly byRule: ReadonlyMap<string | undefined, number>
}

export interface AggregateOptions {
  readonly sieve: Sieve
  readonly groupBy?: readonly GroupField[]
  /** Counts what mode `report` let through as if it had been denied. */
  readonly wouldDeny?: boolean
  readonly limits?: Limits
}

interface Limits {
  readonly groups: number
  /** Pairs of group and client that are told apart. */
  readonly clients: number
}

/** With the bins, some 80 MB that are held in the worst case; with the engine's garbage the process takes about 400. */
const LIMITS: Limits = { groups: 50_000, clients: 500_000 }
/** More rules for the same target than a configuration sensibly has. */
const MAX_RULES = 64
const NO_RULES: ReadonlyMap<string, number> = new Map()
/** A clock that is set back by less is no jump: several processes write to one log. */
const CLOCK_SLACK_MS = 2000

class OpenGroup implements Group {
  count = 0
  first = Number.POSITIVE_INFINITY
  last = Number.NEGATIVE_INFINITY
  hint: string | null = null
  #hintAt = Number.NEGATIVE_INFINITY
  /** Denials of each client address. */
  readonly byClient = new Map<string, number>()
  readonly fields: Group['fields']
  readonly bins: Bins
  #byRule: Map<string | undefined, number> | undefined

  constructor(fields: Group['fields'], bins: Bins) {
    this.fields = fields
    this.bins = bins
  }

  get clients(): number {
    return this.byClient.size
  }

  get aClient(): string | null {
    return this.byClient.keys().next().value ?? null
  }

  get byRule(): Group['byRule'] {
    return this.#byRule ?? NO_RULES
  }

  add(denial: Denial): void {
    this.count += denial.count
    if (denial.clientRule !== null) this.#addToRule(denial.clientRule, denial.count)
    if (denial.first < this.first) this.first = denial.first
    if (denial.last > this.last) this.last = denial.last
    if (denial.hint !== null && denial.last > this.#hintAt) {
      if (denial.hint !== this.hint) this.hint = detached(denial.hint)
      this.#hintAt = denial.last
    }
    this.bins.add(denial.first, denial.count)
  }

  #addToRule(name: string, count: number): void {
    const rules = (this.#byRule ??= new Map())
    const rule = rules.has(name) || rules.size < MAX_RULES ? name : undefined
    rules.set(rule, (rules.get(rule) ?? 0) + count)
  }
}

export class Aggregate {
  readonly scale = new TimeScale()
  readonly #sieve: Sieve
  readonly #by: readonly GroupField[]
  readonly #plain: boolean
  readonly #wouldDeny: boolean
  readonly #limits: Limits
  readonly #groups = new Map<string, OpenGroup>()
  /** Denials of each gate, in all groups together. */
  readonly nodes = new Map<string, number>()
  #pairs = 0

  /** Records of any time. */
  read = 0
  /** Records in the time that is looked at. */
  records = 0
  denials = 0
  from = Number.POSITIVE_INFINITY
  to = Number.NEGATIVE_INFINITY
  /** Denials that mode `report` let through; in `denials` too when they were asked for. */
  wouldBeDenied = 0
  others = 0
  clockJumps = 0
  /** Denials beyond the last group that there was room for. */
  ungrouped = 0
  /** Whether some group has more clients than it counts. */
  clientsCut = false
  readonly bad: Record<BadLine, number> = {
    cut: 0,
    schema: 0,
    time: 0,
    binary: 0,
    long: 0,
    wrapped: 0,
  }

  constructor({ sieve, groupBy = DEFAULT_GROUPING, wouldDeny = false, limits = LIMITS }: AggregateOptions) {
    this.#sieve = sieve
    this.#by = groupBy
    this.#plain = groupBy === DEFAULT_GROUPING
    this.#wouldDeny = wouldDeny
    this.#limits = limits
  }

  get groups(): readonly Group[] {
    return [...this.#groups.values()]
  }

  /** Denials of each client, in all groups together. */
  get clients(): ReadonlyMap<string, number> {
    const all = new Map<string, number>()
    for (const { byClient } of this.#groups.values())
      for (const [client, count] of byClient) all.set(client, (all.get(client) ?? 0) + count)
    return all
  }

  /** Where the lines of one input go; each has a clock of its own. */
  sink(onDenial?: (denial: Denial) => void): RecordSink {
    let latest = Number.NEGATIVE_INFINITY
    const take = (denial: Denial): void => {
      if (this.#add(denial)) onDenial?.(denial)
    }
    return {
      record: (timeMs) => {
        this.read += 1
        if (timeMs < latest - CLOCK_SLACK_MS) {
          this.clockJumps += 1
          latest = timeMs
        } else if (timeMs > latest) latest = timeMs
        if (!this.#sieve.inTime(timeMs)) return
        this.records += 1
        if (timeMs < this.from) this.from = timeMs
        if (timeMs > this.to) this.to = timeMs
      },
      denial: (denial, timeMs) => {
        if (this.#sieve.inTime(timeMs) && this.#sieve.passes(denial)) take(denial)
      },
      wouldDeny: (denial, timeMs) => {
        if (!this.#sieve.inTime(timeMs) || !this.#sieve.passes(denial)) return
        this.wouldBeDenied += 1
        if (this.#wouldDeny) take(denial)
      },
      other: () => {
        this.others += 1
      },
      bad: (problem) => {
        this.bad[problem] += 1
      },
    }
  }

  #add(denial: Denial): boolean {
    this.denials += denial.count
    if (denial.node !== null) this.nodes.set(denial.node, (this.nodes.get(denial.node) ?? 0) + denial.count)
    const key = this.#plain
      ? `${denial.host}\n${denial.port}\n${denial.reason}`
      : this.#by.map((field) => denial[field]).join('\n')
    let group = this.#groups.get(key)
    if (!group) {
      if (this.#groups.size >= this.#limits.groups) {
        this.ungrouped += denial.count
        return false
      }
      group = new OpenGroup(pick(denial, this.#by), new Bins(this.scale))
      this.#groups.set(key, group)
    }
    this.scale.include(denial.first)
    group.add(denial)
    if (denial.client !== null) {
      const count = group.byClient.get(denial.client)
      if (count !== undefined) group.byClient.set(denial.client, count + denial.count)
      else if (this.#pairs < this.#limits.clients) {
        this.#pairs += 1
        group.byClient.set(detached(denial.client), denial.count)
      } else this.clientsCut = true
    }
    return true
  }
}

function pick(denial: Denial, by: readonly GroupField[]): Group['fields'] {
  const keep = (field: GroupField): string | number | null => {
    const value = by.includes(field) ? denial[field] : null
    return typeof value === 'string' ? detached(value) : value
  }
  return {
    host: keep('host'),
    port: keep('port'),
    reason: keep('reason'),
    client: keep('client'),
    user: keep('user'),
    node: keep('node'),
  }
}

/** A copy: a part of a string holds on to the whole of it, here to a line for each host and client. */
function detached(text: string): string {
  return Buffer.from(text).toString()
}
