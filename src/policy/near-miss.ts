/**
 * "Did you mean …?": what a refused client probably wanted. A hint never changes a decision; it is words.
 */
import { getDomain } from 'tldts'
import { parentsOf } from './hostname.ts'
import type { Policy, Rule } from './rules.ts'
import { isSharedTenant } from './shared-tenants.ts'

export type Hint =
  /** A slip of the keyboard away from an allowed host. */
  | { readonly kind: 'typo'; readonly value: string }
  /** An allowed host above or beside the refused one. */
  | { readonly kind: 'nearby'; readonly value: string }
  /** The right host on the wrong port; `value` is `host:port` as it would be allowed. */
  | { readonly kind: 'port'; readonly value: string }
  /** The host stands in a bundled preset that is not in use; `value` is the preset's name. */
  | { readonly kind: 'preset'; readonly value: string }
  /** Advice in words, for requests that name no host. */
  | { readonly kind: 'advice'; readonly value: string }

/** The hint as the tail of a sentence: `did you mean cgr.dev?`. */
export function hintPhrase(hint: Hint): string {
  switch (hint.kind) {
    case 'typo':
      return `did you mean ${hint.value}?`
    case 'nearby':
      return `allowed nearby: ${hint.value}`
    case 'port':
      return `did you mean ${hint.value}?`
    case 'preset':
      return `it is in preset ${hint.value}`
    case 'advice':
      return hint.value
  }
}

/** Whether a target would be allowed: what is refused itself is no help. */
export type Permits = (host: string, port: number) => boolean

/** Suggests what a client that asked for `host:port` may have meant; `undefined` when nothing is near. */
export function nearMiss(policy: Policy, host: string, port: number, permits: Permits): Hint | undefined {
  const listed = policy.elsewhere.find((entry) => entry.hostname === host && entry.port === port)
  if (listed) return { kind: 'preset', value: listed.preset }
  return typo(policy.allow, host, port, permits) ?? nearby(policy, host, permits)
}

/** The near miss for an allowed host on a port that its rules do not name. */
export function nearMissPort(host: string, rules: readonly Rule[], permits: Permits): Hint | undefined {
  const rule = rules.find(({ port }) => port !== undefined && permits(host, port))
  return rule ? { kind: 'port', value: `${host}:${rule.port}` } : undefined
}

/** A typo is at most so many letters away from what was meant. */
export const MAX_EDITS = 2
/** Names this short turn into each other too easily for two edits. */
const SHORT_NAME = 6

function typo(rules: readonly Rule[], host: string, port: number, permits: Permits): Hint | undefined {
  let best: { edits: number; value: string } | undefined
  for (const rule of rules) {
    const candidate = rule.host.kind === 'exact' ? rule.host.hostname : graftOnto(rule.host.apex, host)
    if (candidate === undefined || candidate === host) continue
    const limit = candidate.length < SHORT_NAME ? 1 : MAX_EDITS
    const edits = editDistance(host, candidate, Math.min(limit, (best?.edits ?? MAX_EDITS + 1) - 1))
    if (edits !== undefined && rule.port !== undefined && permits(candidate, rule.port)) {
      best = { edits, value: rule.port === port ? candidate : `${candidate}:${rule.port}` }
    }
    if (best?.edits === 1) break
  }
  return best && { kind: 'typo', value: best.value }
}

/** For `*.apex`: the host with its tail replaced by the apex, so that only the tail is compared. */
function graftOnto(apex: string, host: string): string | undefined {
  const labels = host.split('.')
  const own = labels.length - apex.split('.').length
  return own > 0 ? [...labels.slice(0, own), apex].join('.') : undefined
}

function nearby(policy: Policy, host: string, permits: Permits): Hint | undefined {
  for (const parent of parentsOf(host)) {
    const rules = policy.allowIndex.exact.get(parent) ?? []
    if (rules.some((rule) => permits(parent, rule.port ?? 0))) return { kind: 'nearby', value: parent }
  }
  // Private suffixes count: two tenants of one storage service are strangers, not siblings.
  const domain = getDomain(host, { allowPrivateDomains: true })
  if (domain === null || isSharedTenant(domain)) return undefined
  let best: { common: number; value: string } | undefined
  for (const { host: pattern, port } of policy.allow) {
    if (pattern.kind !== 'exact' || getDomain(pattern.hostname, { allowPrivateDomains: true }) !== domain)
      continue
    if (!permits(pattern.hostname, port ?? 0)) continue
    const common = commonSuffixLength(host, pattern.hostname)
    if (!best || common > best.common) best = { common, value: pattern.hostname }
  }
  return best && { kind: 'nearby', value: best.value }
}

function commonSuffixLength(a: string, b: string): number {
  let length = 0
  while (length < a.length && length < b.length && a.at(-1 - length) === b.at(-1 - length)) length += 1
  return length
}

/**
 * Levenshtein distance of two strings, or `undefined` when it is above `limit`. Only the diagonal band of width
 * `2 * limit + 1` is computed, so a flood of refused names costs little.
 */
export function editDistance(a: string, b: string, limit: number): number | undefined {
  if (limit < 0 || Math.abs(a.length - b.length) > limit) return undefined
  let previous: number[] = Array.from({ length: b.length + 1 }, (_, j) => j)
  for (let i = 1; i <= a.length; i += 1) {
    const current: number[] = Array.from({ length: b.length + 1 }, () => limit + 1)
    if (i <= limit) current[0] = i
    let rowMinimum = current[0] ?? limit + 1
    const from = Math.max(1, i - limit)
    const to = Math.min(b.length, i + limit)
    for (let j = from; j <= to; j += 1) {
      const substituted = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1)
      const cost = Math.min(substituted, (previous[j] ?? 0) + 1, (current[j - 1] ?? 0) + 1)
      current[j] = cost
      rowMinimum = Math.min(rowMinimum, cost)
    }
    if (rowMinimum > limit) return undefined
    previous = current
  }
  const distance = previous[b.length] ?? limit + 1
  return distance <= limit ? distance : undefined
}
