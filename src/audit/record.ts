/**
 * The audit record: one JSON object a line, fields of the Elastic Common Schema. Field names and the schema version
 * live here and nowhere else, which is why it is over 300 lines. Never header values other than the user agent, never
 * tunnel bytes, never credentials.
 */
import { outcome, type CloseCode } from '../policy/reasons.ts'
import { authorityOf, explanation, verbOf, type Refusal } from '../policy/refusal.ts'
import { ruleName, type PolicyMode, type Rule } from '../policy/rules.ts'
import type { AttemptAction, GateAction } from './actions.ts'
import type { Attempt } from './attempt.ts'
import { escapeClientText, maskTarget } from './client-text.ts'

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

export interface AuditRecord {
  readonly level: 'info' | 'warn' | 'error'
  readonly message: string
  /** Everything but timestamp, level, message and what is the same on every record. */
  readonly fields: Readonly<Record<string, unknown>>
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
export const NO_SEQUENCE = 0
export const NO_PREV = ''

export function formatStamp(sequence: number, prev: string): string {
  return `"sequence":${sequence}},"sallyport":{"prev":"${prev}"`
}

/** The record with {@link STAMP} where sequence and chain go. */
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
        fields: {
          event: {
            kind: 'event',
            category: ['process'],
            type: ['info'],
            action: event.action,
            sequence: NO_SEQUENCE,
          },
          sallyport: {
            prev: NO_PREV,
            schema: RECORD_SCHEMA,
            policy: event.policyHash,
            mode: event.mode,
            ...event.facts,
          },
        },
      }
  }
}

function openedRecord(attempt: Attempt): AuditRecord {
  const { wouldDeny } = attempt
  const verdict = wouldDeny ? `, would deny: ${wouldDeny.code}${tail(wouldDeny)}` : ''
  return {
    level: wouldDeny ? 'warn' : 'info',
    message: `opened ${nameOf(attempt)}${verdict}`,
    fields: {
      ...common(attempt),
      event: connectionEvent(attempt, 'tunnel-opened', OPENING, 'success', 'allowed'),
      sallyport: own(attempt),
    },
  }
}

function refusedRecord(attempt: Attempt, refusal: Refusal): AuditRecord {
  const failed = outcome(refusal.code).action === 'tunnel-failed'
  const event = failed
    ? connectionEvent(attempt, 'tunnel-failed', ['connection', 'error'], 'failure', refusal.code)
    : connectionEvent(attempt, 'tunnel-denied', ['connection', 'denied'], 'success', refusal.code)
  const rule = refusal.rule ?? attempt.rule
  return {
    level: refusal.code === 'internal_error' ? 'error' : 'warn',
    message: `${verbOf(refusal)} ${nameOf(attempt)} ${refusal.code}${tail(refusal)}`,
    fields: {
      ...common(attempt),
      rule: rule && ruleOf(rule),
      event,
      sallyport: {
        ...own(attempt),
        hint: refusal.hint?.value ?? attempt.wouldDeny?.hint?.value,
        malformation: refusal.malformation,
        detail: refusal.detail,
      },
    },
  }
}

function closedRecord(event: Extract<AuditEvent, { kind: 'closed' }>): AuditRecord {
  const { attempt, code, bytesUp, bytesDown, durationMs } = event
  // The one end that is a denial.
  const denied = code === 'sni_changed'
  return {
    level: denied ? 'warn' : 'info',
    message: `closed ${nameOf(attempt)} ${code}, ${bytesUp} bytes up, ${bytesDown} bytes down`,
    fields: {
      source: sourceOf(attempt, bytesUp),
      destination: destinationOf(attempt, bytesDown),
      user: userOf(attempt),
      rule: attempt.rule && ruleOf(attempt.rule),
      event: connectionEvent(
        attempt,
        'tunnel-closed',
        denied ? DENIED_END : END,
        'success',
        code,
        durationMs,
      ),
      sallyport: {
        prev: NO_PREV,
        schema: RECORD_SCHEMA,
        policy: attempt.policyHash,
        mode: attempt.mode,
        client: attempt.clientRule,
        proven_by: proofOf(attempt),
      },
    },
  }
}

function forwardedRecord(event: Extract<AuditEvent, { kind: 'forwarded' }>): AuditRecord {
  const { attempt, code, status, bytesUp, bytesDown, durationMs } = event
  const { wouldDeny } = attempt
  const verdict = wouldDeny ? `, would deny: ${wouldDeny.code}${tail(wouldDeny)}` : ''
  const parts = common(attempt)
  return {
    level: wouldDeny ? 'warn' : 'info',
    message: `forwarded ${nameOf(attempt)} ${status ?? 'unanswered'} ${code}, ${bytesUp} bytes up, ${bytesDown} bytes down${verdict}`,
    fields: {
      ...parts,
      source: sourceOf(attempt, bytesUp),
      destination: destinationOf(attempt, bytesDown),
      http: { ...parts.http, response: status === undefined ? undefined : { status_code: status } },
      event: connectionEvent(
        attempt,
        'request-forwarded',
        ['connection', 'allowed', 'end'],
        code === 'completed' ? 'success' : 'failure',
        code,
        durationMs,
      ),
      sallyport: own(attempt),
    },
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
    fields: {
      source,
      destination,
      ...(rule && { rule }),
      ...(user && { user }),
      event: {
        kind: 'event',
        category: ['network'],
        type: ['connection', 'end'],
        action: 'tunnel-closed' satisfies AttemptAction,
        outcome: 'unknown',
        reason: 'worker_lost' satisfies CloseCode,
        id: event.id,
        sequence: NO_SEQUENCE,
      },
      sallyport: {
        prev: NO_PREV,
        schema: RECORD_SCHEMA,
        policy: sallyport.policy,
        mode: sallyport.mode,
        ...(sallyport.client !== undefined && { client: sallyport.client }),
        ...(sallyport.proven_by !== undefined && { proven_by: sallyport.proven_by }),
      },
    },
  }
}

const OPENING = ['connection', 'start', 'allowed']
const END = ['connection', 'end']
const DENIED_END = ['connection', 'end', 'denied']
const NETWORK = ['network']

// What an attempt does not have is undefined in the parts below, and then not written: an object of one shape for all is
// made and written faster than one that is put together.

function connectionEvent(
  attempt: Attempt,
  action: AttemptAction,
  type: readonly string[],
  result: 'success' | 'failure',
  reason: string,
  durationMs?: number,
) {
  return {
    kind: 'event',
    category: NETWORK,
    type,
    action,
    outcome: result,
    reason,
    id: attempt.id,
    // ECS counts event.duration in nanoseconds.
    duration: durationMs === undefined ? undefined : Math.round(durationMs * 1e6),
    sequence: NO_SEQUENCE,
  }
}

function common(attempt: Attempt) {
  const { rule, method, version, userAgent, tls } = attempt
  return {
    source: sourceOf(attempt),
    destination: destinationOf(attempt),
    http:
      method === undefined
        ? undefined
        : { request: { method: escapeClientText(method, MAX_METHOD) }, version },
    user_agent: userAgent === undefined ? undefined : { original: escapeClientText(userAgent) },
    user: userOf(attempt),
    rule: rule && ruleOf(rule),
    tls: tls?.serverName === undefined ? undefined : { client: { server_name: tls.serverName } },
  }
}

function sourceOf({ client }: Attempt, bytes?: number) {
  return { ip: client.address, port: client.port, bytes }
}

export function destinationOf({ target, address }: Attempt, bytes?: number) {
  if (!target) return bytes === undefined ? undefined : { bytes }
  const { kind, host, port } = target
  return kind === 'ip' ? { ip: host, port, bytes } : { domain: host, ip: address, port, bytes }
}

function ruleOf(rule: Rule) {
  return { name: ruleName(rule), ruleset: rule.ruleset }
}

/** The user whose password was right, or else the first name of the certificate. */
function userOf({ user, certificateNames }: Attempt) {
  const name = user ?? certificateNames?.[0]
  return name === undefined ? undefined : { name: escapeClientText(name) }
}

/** How the client has proven its name: a user and a certificate may have the same. */
function proofOf({ user, certificateNames }: Attempt): 'password' | 'certificate' | undefined {
  if (user !== undefined) return 'password'
  return certificateNames?.[0] === undefined ? undefined : 'certificate'
}

function own(attempt: Attempt) {
  const { dns, tries, tls, target, rawTarget, wouldDeny, clientRule, via, candidate } = attempt
  return {
    prev: NO_PREV,
    schema: RECORD_SCHEMA,
    policy: attempt.policyHash,
    mode: attempt.mode,
    client: clientRule,
    proven_by: proofOf(attempt),
    listener: attempt.transparent ? 'transparent' : undefined,
    // The 200 is out, and the server name was not looked at.
    sni: attempt.tlsExpected === false ? 'off' : undefined,
    via: via && { ip: via.address, port: via.port },
    would_deny: wouldDeny?.code,
    hint: wouldDeny?.hint?.value,
    candidate,
    // A target that could not be read is kept as evidence, escaped.
    target: target || rawTarget === undefined ? undefined : escapeClientText(maskTarget(rawTarget)),
    dns: dns && {
      answers: dns.answers.length > MAX_ANSWERS ? dns.answers.slice(0, MAX_ANSWERS) : dns.answers,
      ttl: dns.ttlSeconds,
      age: dns.ageSeconds,
      source: dns.source,
    },
    dial: tries?.map(({ address, result, ms }) => ({ ip: address, result, ms })),
    tls: tls && {
      alpn: tls.alpn.map((name) => escapeClientText(name, MAX_METHOD)),
      versions: tls.versions,
    },
  }
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
