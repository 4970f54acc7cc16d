/**
 * From what was found at each host to what to ask of whom: one entry for each cause, the hosts it concerns, and the
 * evidence that the people who can mend it will ask for. Pure.
 */
import { FINDINGS, type Finding, type FindingCode, type Owner } from './findings.ts'
import type { HostReport } from './report.ts'

export interface Verdict {
  /** `unfinished`: nothing was found, and not everything was looked at. */
  readonly status: 'well' | 'finding' | 'unfinished'
  /** The whole in one sentence. */
  readonly summary: string
  readonly advice: readonly Advice[]
  /** What holds for all: where DNS answers come from, and for how long. */
  readonly notes: readonly string[]
}

export interface Advice {
  readonly code: FindingCode
  /** Who can mend it. */
  readonly owner: Owner
  readonly meaning: string
  /** What to ask of them. */
  readonly ask: string
  readonly hosts: readonly AdvisedHost[]
}

export interface AdvisedHost {
  readonly host: string
  readonly port: number
  /** Where the connection would go, as DNS says now; empty through a proxy or without an answer. */
  readonly addresses: readonly string[]
  readonly detail: string
}

/** @param why what ended the run early, if something did */
export function judge(
  hosts: readonly HostReport[],
  via: string | null,
  why?: 'interrupted' | 'time',
): Verdict {
  const found = hosts.filter((host) => host.finding !== null)
  const well = hosts.filter((host) => host.status === 'well').length
  const unfinished = hosts.filter((host) => host.status === 'unfinished').length
  const status = found.length > 0 ? 'finding' : unfinished > 0 ? 'unfinished' : 'well'
  return {
    status,
    summary: summarize(hosts.length, well, found.length, unfinished, via, why),
    advice: adviseAll(found),
    notes: notesFor(hosts),
  }
}

function summarize(
  all: number,
  well: number,
  found: number,
  unfinished: number,
  via: string | null,
  why: 'interrupted' | 'time' | undefined,
): string {
  const how = via === null ? '' : ` through ${via}`
  const end = why === 'time' ? 'time was up' : 'the run was interrupted'
  const rest = unfinished === 0 ? '' : `; ${unfinished} not known, since ${end}`
  if (well === all)
    return all === 1 ? `The host is reachable${how}.` : `All ${all} hosts are reachable${how}.`
  if (well === 0 && unfinished === 0)
    return all === 1 ? `The host is not well${how}.` : `None of the ${all} hosts is well${how}.`
  return `${well} of ${all} hosts ${well === 1 ? 'is' : 'are'} reachable${how}, ${found} ${found === 1 ? 'is' : 'are'} not${rest}.`
}

function adviseAll(found: readonly HostReport[]): readonly Advice[] {
  const groups = new Map<string, Advice & { hosts: AdvisedHost[] }>()
  for (const report of found) {
    const { finding } = report
    if (!finding) continue
    const { owner, meaning, ask } = entryFor(finding)
    const key = `${finding.code}\n${owner}\n${ask}`
    const group = groups.get(key) ?? { code: finding.code, owner, meaning, ask, hosts: [] }
    const dns = report.steps.find((step) => step.dns)?.dns
    group.hosts.push({
      host: report.host,
      port: report.port,
      addresses: dns?.addresses ?? [],
      detail: finding.detail,
    })
    groups.set(key, group)
  }
  return [...groups.values()].toSorted((a, b) => b.hosts.length - a.hosts.length)
}

function entryFor(finding: Finding): { owner: Owner; meaning: string; ask: string } {
  const entry = FINDINGS[finding.code]
  return {
    owner: finding.owner ?? entry.owner,
    meaning: entry.meaning,
    ask: finding.ask ?? entry.ask,
  }
}

/** Beyond it a clock is wrong, not late. */
const SKEW_SECONDS = 5 * 60

function notesFor(hosts: readonly HostReport[]): readonly string[] {
  const answers = hosts.flatMap((host) =>
    host.steps.flatMap((step) => (step.dns && step.dns.addresses.length > 0 ? [step.dns] : [])),
  )
  const resolvers = [...new Set(answers.map((dns) => dns.resolver).filter((name) => name !== 'static'))]
  const ttls = answers.flatMap((dns) => (dns.ttlSeconds === undefined ? [] : [dns.ttlSeconds]))
  const [shortest, longest] = [Math.min(...ttls), Math.max(...ttls)]
  const lives = shortest === longest ? `${shortest} s` : `${shortest} to ${longest} s`
  return [
    ...(resolvers.length > 0
      ? [
          `DNS answers come from ${resolvers.join(', ')} with TTLs of ${lives}: a firewall that filters by address must follow them, one that filters by name need not.`,
        ]
      : []),
    ...clockNote(hosts),
  ]
}

function clockNote(hosts: readonly HostReport[]): readonly string[] {
  // Only a peer with a public certificate is believed, or one whose certificate fails by its dates.
  const told = hosts.flatMap((host) => {
    const trusted = host.steps.some((step) => step.tls?.trust === 'public')
    return host.steps.flatMap((step) =>
      trusted && step.http?.clockAheadSeconds !== undefined ? [step.http.clockAheadSeconds] : [],
    )
  })
  const off = told.filter((seconds) => Math.abs(seconds) >= SKEW_SECONDS)
  const [first] = off
  if (first === undefined || off.length < told.length) return []
  const minutes = Math.round(Math.abs(first) / 60)
  return [
    `The clock of this machine is ${minutes} minutes ${first > 0 ? 'ahead of' : 'behind'} what the hosts say: set it (NTP).`,
  ]
}
