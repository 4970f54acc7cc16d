/**
 * The audit record: one JSON object a line, fields of the Elastic Common Schema. Field names and the schema version
 * live here and nowhere else, which is why it is over 300 lines. Never header values other than the user agent, never
 * tunnel bytes, never credentials.
 */
import type { DnsEvidence } from '../dns/resolver.ts'
import { outcome, type CloseCode, type OutcomeCode } from '../policy/reasons.ts'
import { authorityOf, explanation, verbOf, type Refusal } from '../policy/refusal.ts'
import { ruleName, type PolicyMode, type Rule } from '../policy/rules.ts'
import type { AttemptAction, GateAction } from './actions.ts'
import type { Attempt, DialTry } from './attempt.ts'
import { escapeClientText, maskTarget } from './client-text.ts'
import { members, number, quoted, text } from './json-text.ts'

/** Version of everything under `sallyport` and of the meaning of the rest. */
export const RECORD_SCHEMA = 1
export const ECS_VERSION = '8.11.0'

export type AuditEvent =
  | { readonly kind: 'opened'; readonly attempt: Attempt }
  | { readonly kind: 'refused'; readonly attempt: Attempt; readonly refusal: Refusal }
  | {
      readonly kind: 'closed'
      readonly attempt: Attempt
      readonly code: CloseCode
      readonly bytesUp: number
      readonly bytesDown: number
      readonly durationMs: number
    }
  /** A request in absolute-form that went to its host; `status` where an answer came. */
  | {
      readonly kind: 'forwarded'
      readonly attempt: Attempt
      readonly code: CloseCode
      readonly status: number | undefined
      /** Of the bodies. */
      readonly bytesUp: number
      readonly bytesDown: number
      readonly durationMs: number
    }
  /** A tunnel that ended with its process; `opened` is the line of its opening. */
  | { readonly kind: 'lost'; readonly opened: string }
  | {
      readonly kind: 'gate'
      readonly action: GateAction
      readonly message: string
      readonly policyHash: string
      readonly mode: PolicyMode
      /** Facts under `sallyport`, such as `listen` or `lost`. */
      readonly facts?: Readonly<Record<string, unknown>>
    }

/**
 * A record as text (json-text.ts says why), in the parts between which the scribe writes what all records have and the
 * ledger what only it knows.
 */
export interface AuditRecord {
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
  /** Members before `event`, each with its comma in front. */
  readonly outer: string
  /** Members of `event` but the sequence, without a comma at either end. */
  readonly event: string
  /** Members of `sallyport` but prev, each with its comma in front. */
  readonly own: string
}

/** How many answers of a host a record lists; the guard has looked at all of them. */
const MAX_ANSWERS = 16
const MAX_METHOD = 32

const TROUBLE: ReadonlySet<GateAction> = new Set(['audit-recovered', 'worker-lost', 'gate-reload-failed'])

/**
 * Where the ledger writes what only it knows: `event.sequence` and `sallyport.prev`. Every record has this text exactly
 * once, since `event` is the last but one of its fields and ends with the sequence, and `sallyport` follows and starts
 * with prev. Text of clients cannot contain it: inside a JSON string each of its quotes would have a backslash before it.
 */
export const STAMP = '"sequence":0},"sallyport":{"prev":""'

export function formatStamp(sequence: number, prev: string): string {
  return `"sequence":${sequence}},"sallyport":{"prev":"${prev}"`
}

/** All of a record but what the scribe and the ledger add. */
export function toRecord(event: AuditEvent): AuditRecord {
  switch (event.kind) {
    case 'opened':
      return openedRecord(event.attempt)
    case 'refused':
      return refusedRecord(event.attempt, event.refusal)
    case 'closed':
      return closedRecord(event)
    case 'forwarded':
      return forwardedRecord(event)
    case 'lost':
      return lostRecord(event.opened)
    case 'gate':
      return {
        level: TROUBLE.has(event.action) ? 'warn' : 'info',
        message: event.message,
        outer: '',
        event: `"kind":"event","category":["process"],"type":["info"],"action":"${event.action}"`,
        own: decided(event) + members({ ...event.facts }),
      }
  }
}

function openedRecord(attempt: Attempt): AuditRecord {
  const { wouldDeny } = attempt
  const verdict = wouldDeny ? `, would deny: ${wouldDeny.code}${tail(wouldDeny)}` : ''
  return {
    level: wouldDeny ? 'warn' : 'info',
    message: `opened ${nameOf(attempt)}${verdict}`,
    outer: sourceOf(attempt) + destinationOf(attempt) + httpOf(attempt) + clientOf(attempt) + tlsOf(attempt),
    event: connectionEvent(attempt, 'tunnel-opened', OPENING, 'success', 'allowed'),
    own: ownOf(attempt),
  }
}

function refusedRecord(attempt: Attempt, refusal: Refusal): AuditRecord {
  const failed = outcome(refusal.code).action === 'tunnel-failed'
  return {
    level: refusal.code === 'internal_error' ? 'error' : 'warn',
    message: `${verbOf(refusal)} ${nameOf(attempt)} ${refusal.code}${tail(refusal)}`,
    outer:
      sourceOf(attempt) +
      destinationOf(attempt) +
      httpOf(attempt) +
      clientOf(attempt, refusal.rule) +
      tlsOf(attempt),
    event: failed
      ? connectionEvent(attempt, 'tunnel-failed', '"connection","error"', 'failure', refusal.code)
      : connectionEvent(attempt, 'tunnel-denied', '"connection","denied"', 'success', refusal.code),
    own:
      ownOf(attempt, refusal.hint?.value) +
      text('malformation', refusal.malformation) +
      text('detail', refusal.detail),
  }
}

function closedRecord(event: Extract<AuditEvent, { kind: 'closed' }>): AuditRecord {
  const { attempt, code, bytesUp, bytesDown, durationMs } = event
  // The one end that is a denial.
  const denied = code === 'sni_changed'
  return {
    level: denied ? 'warn' : 'info',
    message: `closed ${nameOf(attempt)} ${code}, ${bytesUp} bytes up, ${bytesDown} bytes down`,
    outer: sourceOf(attempt, bytesUp) + destinationOf(attempt, bytesDown) + clientOf(attempt),
    event: connectionEvent(
      attempt,
      'tunnel-closed',
      denied ? '"connection","end","denied"' : '"connection","end"',
      'success',
      code,
      durationMs,
    ),
    own: decided(attempt) + identityOf(attempt),
  }
}

function forwardedRecord(event: Extract<AuditEvent, { kind: 'forwarded' }>): AuditRecord {
  const { attempt, code, status, bytesUp, bytesDown, durationMs } = event
  const { wouldDeny } = attempt
  const verdict = wouldDeny ? `, would deny: ${wouldDeny.code}${tail(wouldDeny)}` : ''
  return {
    level: wouldDeny ? 'warn' : 'info',
    message: `forwarded ${nameOf(attempt)} ${status ?? 'unanswered'} ${code}, ${bytesUp} bytes up, ${bytesDown} bytes down${verdict}`,
    outer:
      sourceOf(attempt, bytesUp) +
      destinationOf(attempt, bytesDown) +
      httpOf(attempt, status) +
      clientOf(attempt) +
      tlsOf(attempt),
    event: connectionEvent(
      attempt,
      'request-forwarded',
      '"connection","allowed","end"',
      code === 'completed' ? 'success' : 'failure',
      code,
      durationMs,
    ),
    own: ownOf(attempt),
  }
}

/** What the record of an opening has, of all that it may have. */
interface OpenedLine {
  readonly event: { readonly id: string }
  readonly source: object
  readonly destination: { readonly domain?: string; readonly ip?: string; readonly port: number }
  readonly rule?: object
  readonly user?: object
  readonly sallyport: {
    readonly policy: string
    readonly mode: PolicyMode
    readonly client?: string
    readonly proven_by?: string
  }
}

/** Bytes and duration went with the process; the rest is as the opening had it. */
function lostRecord(opened: string): AuditRecord {
  const { event, source, destination, rule, user, sallyport }: OpenedLine = JSON.parse(opened)
  const { domain, ip, port } = destination
  return {
    level: 'warn',
    message: `closed ${authorityOf({ host: domain ?? ip ?? '', port })} worker_lost`,
    outer: members({ source, destination, user, rule }),
    event: eventText('tunnel-closed', '"connection","end"', 'unknown', 'worker_lost') + text('id', event.id),
    own:
      decided({ policyHash: sallyport.policy, mode: sallyport.mode }) +
      members({ client: sallyport.client, proven_by: sallyport.proven_by }),
  }
}

const OPENING = '"connection","start","allowed"'

/** Members of `event` for what is about a client. `type` is the inside of an array. */
export function eventText(
  action: AttemptAction,
  type: string,
  result: 'success' | 'failure' | 'unknown',
  reason: OutcomeCode,
): string {
  return `"kind":"event","category":["network"],"type":[${type}],"action":"${action}","outcome":"${result}","reason":"${reason}"`
}

function connectionEvent(
  attempt: Attempt,
  action: AttemptAction,
  type: string,
  result: 'success' | 'failure',
  reason: OutcomeCode,
  durationMs?: number,
): string {
  const id = `${eventText(action, type, result, reason)},"id":"${attempt.id}"`
  // ECS counts event.duration in nanoseconds.
  return durationMs === undefined ? id : `${id},"duration":${Math.round(durationMs * 1e6)}`
}

// Ids, codes and hashes are words of our own, with nothing in them to escape. All else is quoted, wherever it comes from.

function sourceOf({ client }: Attempt, bytes?: number): string {
  return `,"source":{"ip":${quoted(client.address)},"port":${client.port}${number('bytes', bytes)}}`
}

export function destinationOf({ target, address }: Attempt, bytes?: number): string {
  if (!target) return bytes === undefined ? '' : `,"destination":{"bytes":${bytes}}`
  const { kind, host, port } = target
  const ip = kind === 'ip' ? host : address
  const name = kind === 'ip' ? '' : `"domain":${quoted(host)},`
  return `,"destination":{${name}${ip === undefined ? '' : `"ip":${quoted(ip)},`}"port":${port}${number('bytes', bytes)}}`
}

function httpOf({ method, version, userAgent }: Attempt, status?: number): string {
  const response = status === undefined ? '' : `"response":{"status_code":${status}}`
  const request =
    method === undefined
      ? ''
      : `"request":{"method":${quoted(escapeClientText(method, MAX_METHOD))}}${text('version', version)}`
  const both = request !== '' && response !== '' ? `${request},${response}` : request + response
  const http = both === '' ? '' : `,"http":{${both}}`
  return userAgent === undefined
    ? http
    : `${http},"user_agent":{"original":${quoted(escapeClientText(userAgent))}}`
}

/** Who it was, and what allowed or denied it. */
function clientOf(attempt: Attempt, rule = attempt.rule): string {
  return userOf(attempt) + (rule ? ruleOf(rule) : '')
}

const ruleTexts = new WeakMap<Rule, string>()

export function ruleOf(rule: Rule): string {
  let known = ruleTexts.get(rule)
  if (known === undefined) {
    known = members({ rule: { name: ruleName(rule), ruleset: rule.ruleset } })
    ruleTexts.set(rule, known)
  }
  return known
}

/** The user whose password was right, or else the first name of the certificate. */
function userOf({ user, certificateNames }: Attempt): string {
  const name = user ?? certificateNames?.[0]
  return name === undefined ? '' : `,"user":{"name":${quoted(escapeClientText(name))}}`
}

function tlsOf({ tls }: Attempt): string {
  return tls?.serverName === undefined ? '' : `,"tls":{"client":{"server_name":${quoted(tls.serverName)}}}`
}

/** The policy that decided; what members of `sallyport` begin with. */
export function decided({ policyHash, mode }: Pick<Attempt, 'policyHash' | 'mode'>): string {
  return `,"schema":${RECORD_SCHEMA},"policy":"${policyHash}","mode":"${mode}"`
}

/** By what its client is known, and how it has proven its name: a user and a certificate may have the same. */
function identityOf({ clientRule, user, certificateNames }: Attempt): string {
  const proof =
    user === undefined ? (certificateNames?.[0] === undefined ? undefined : 'certificate') : 'password'
  return text('client', clientRule) + text('proven_by', proof)
}

function ownOf(attempt: Attempt, hint = attempt.wouldDeny?.hint?.value): string {
  const { dns, tries, tls, target, rawTarget, wouldDeny, via, candidate } = attempt
  return (
    decided(attempt) +
    identityOf(attempt) +
    (attempt.transparent ? ',"listener":"transparent"' : '') +
    // The 200 is out, and the server name was not looked at.
    (attempt.tlsExpected === false ? ',"sni":"off"' : '') +
    (via ? `,"via":{"ip":${quoted(via.address)},"port":${via.port}}` : '') +
    text('would_deny', wouldDeny?.code) +
    text('hint', hint) +
    (candidate ? members({ candidate }) : '') +
    // A target that could not be read is kept as evidence, escaped.
    (target || rawTarget === undefined ? '' : text('target', escapeClientText(maskTarget(rawTarget)))) +
    (dns ? dnsText(dns) : '') +
    (tries ? `,"dial":[${tries.map(triedText).join()}]` : '') +
    (tls
      ? `,"tls":{"alpn":[${tls.alpn.map(protocolText).join()}],"versions":[${tls.versions.map(quoted).join()}]}`
      : '')
  )
}

function dnsText({ answers, ttlSeconds, ageSeconds, source }: DnsEvidence): string {
  const listed = answers.length > MAX_ANSWERS ? answers.slice(0, MAX_ANSWERS) : answers
  return `,"dns":{"answers":[${listed.map(quoted).join()}]${number('ttl', ttlSeconds)}${number('age', ageSeconds)},"source":"${source}"}`
}

function triedText({ address, result, ms }: DialTry): string {
  return `{"ip":${quoted(address)},"result":${quoted(result)},"ms":${ms}}`
}

function protocolText(name: string): string {
  return quoted(escapeClientText(name, MAX_METHOD))
}

export function nameOf(attempt: Attempt): string {
  if (attempt.target) return authorityOf(attempt.target)
  return attempt.rawTarget === undefined || attempt.rawTarget === ''
    ? 'connection'
    : escapeClientText(maskTarget(attempt.rawTarget), 80)
}

function tail(refusal: Refusal): string {
  const text = explanation(refusal)
  return text && `, ${text}`
}
