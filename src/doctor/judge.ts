/**
 * From the facts of a step to what they mean. Pure: no socket has a say here, and the same facts are the same finding.
 */
import type { Finding } from './findings.ts'
import { portalSign } from './expectation.ts'
import type { ConnectFacts, DnsFacts, HttpFacts, TcpFacts, TlsFacts } from './report.ts'
import { adviceFor } from './reply.ts'

export function judgeDns(facts: DnsFacts): Finding | undefined {
  if (facts.addresses.length > 0) return undefined
  const asked = facts.asked.map((answer) => answer.server).join(', ')
  const chosen = facts.asked.find((answer) => answer.server === facts.resolver)
  switch (chosen?.kind) {
    case 'nxdomain':
      return { code: 'dns_nxdomain', detail: `${facts.resolver} says that there is no such name (NXDOMAIN)` }
    case 'nodata':
      return { code: 'dns_error', detail: `${facts.resolver} has neither an A nor an AAAA record for it` }
    case 'failed':
      return {
        code: 'dns_error',
        detail: FAILURE_WORDS[chosen.code ?? '']?.(chosen.server) ?? `${chosen.server}: ${chosen.code}`,
      }
    default:
      return { code: 'dns_timeout', detail: `no answer from ${asked || 'any resolver'}` }
  }
}

const FAILURE_WORDS: Record<string, (server: string) => string> = {
  ESERVFAIL: (server) => `${server} answered SERVFAIL`,
  EREFUSED: (server) => `${server} answered REFUSED`,
  ENOTIMP: (server) => `${server} answered NOTIMP`,
  EFORMERR: (server) => `${server} answered FORMERR`,
  EBADRESP: (server) => `the answer of ${server} cannot be read`,
  ECONNREFUSED: (server) => `no resolver listens at ${server}`,
}

export function judgeTcp({ tries, address }: TcpFacts): Finding | undefined {
  const failed = tries.filter((one) => one.result !== 'connected')
  if (address === undefined) {
    // A host that says no tells more than one that is silent, and that more than a missing route (as the gate reads it).
    const results = new Set(tries.map((one) => one.result))
    const code = results.has('refused')
      ? 'connect_refused'
      : results.has('timeout')
        ? 'connect_timeout'
        : 'connect_unreachable'
    return { code, detail: list(tries.map((one) => `${one.address} ${wordFor(one)}`)) }
  }
  // Networks without IPv6 are common, and every client falls back: not worth an alarm.
  const missing = failed.filter((one) => !one.address.includes(':'))
  if (missing.length === 0) return undefined
  const detail = `${tries.length - failed.length} of ${tries.length} addresses answer; not ${list(missing.map((one) => `${one.address} (${wordFor(one)})`))}`
  return { code: 'partly_reachable', detail }
}

export function wordFor({ result, code }: TcpFacts['tries'][number]): string {
  switch (result) {
    case 'connected':
      return 'answers'
    case 'refused':
      return code === 'ECONNRESET' ? 'resets the connection' : 'refuses the connection'
    case 'timeout':
      return 'does not answer'
    case 'unreachable':
      return `cannot be reached (${code})`
    case 'other':
      return `fails (${code})`
  }
}

export interface TlsQuestion {
  readonly host: string
  readonly nowMs: number
  /** Whether a CA that only this machine trusts is out of place: yes for a host on the internet. */
  readonly publicExpected: boolean
}

/** What the certificate says; the worst first. */
export function judgeTls(facts: TlsFacts, { host, nowMs, publicExpected }: TlsQuestion): Finding | undefined {
  if (facts.trust === 'unknown')
    return { code: 'unknown_issuer', detail: `issued by ${facts.issuer}, which is no CA known here` }
  if (facts.trust === 'local' && publicExpected)
    return { code: 'interceptor', detail: `issued by ${facts.issuer}, a CA that only this machine trusts` }
  if (!facts.nameMatches)
    return { code: 'certificate_wrong_name', detail: `it is for ${namesOf(facts)}, not for ${host}` }
  if (nowMs < Date.parse(facts.validFrom))
    return {
      code: 'certificate_not_yet_valid',
      detail: `valid from ${minutes(facts.validFrom)}; the clock of this machine says ${minutes(new Date(nowMs).toISOString())}`,
    }
  if (nowMs > Date.parse(facts.validTo))
    return {
      code: 'certificate_expired',
      detail: `expired ${minutes(facts.validTo)}; the clock of this machine says ${minutes(new Date(nowMs).toISOString())}`,
    }
  return undefined
}

/** Clocks of hosts and of machines with NTP are within seconds; this is beyond doubt. */
const SKEW_SECONDS = 5 * 60

/**
 * What the answer adds to what TLS found: a portal shows itself, and the Date field tells a wrong clock from a wrong
 * certificate.
 */
export function judgeHttp(
  facts: HttpFacts,
  tls: { readonly facts: TlsFacts; readonly finding: Finding | undefined },
  question: { readonly host: string; readonly registry: boolean },
): Finding | undefined {
  const { finding } = tls
  const sign = portalSign(facts, { ...question, peer: peerOf(finding) })
  if (sign !== undefined) {
    return {
      code: 'captive_portal',
      detail: `${sign}; the certificate is for ${namesOf(tls.facts)}, issued by ${tls.facts.issuer}`,
    }
  }
  const ahead = facts.clockAheadSeconds ?? 0
  const byDate = finding?.code === 'certificate_expired' || finding?.code === 'certificate_not_yet_valid'
  if (!byDate) return finding
  if (Math.abs(ahead) < SKEW_SECONDS) {
    return facts.clockAheadSeconds === undefined
      ? finding
      : {
          ...finding,
          owner: 'host',
          ask: 'tell the owner of the host; by its own Date field our clock is right',
        }
  }
  return {
    ...finding,
    owner: 'clock',
    detail: `${finding.detail}; by the host's Date field this clock is ${span(Math.abs(ahead))} ${ahead > 0 ? 'ahead' : 'behind'}`,
    ask: 'set the clock of this machine (NTP)',
  }
}

function peerOf(finding: Finding | undefined): 'host' | 'unsure' | 'other' {
  switch (finding?.code) {
    case 'unknown_issuer':
    case 'certificate_wrong_name':
      return 'other'
    case 'interceptor':
      return 'unsure'
    default:
      return 'host'
  }
}

/** What a proxy said to CONNECT; nothing when the tunnel is open. */
export function judgeConnect(facts: ConnectFacts, host: string): Finding | undefined {
  const { status, statusLine } = facts
  if (status >= 200 && status < 300) return undefined
  const said = facts.firstLine === undefined ? statusLine : `${statusLine}: ${facts.firstLine}`
  if (facts.sallyport) return judgeSallyport(facts.sallyport, status)
  if (status === 407) return judgeChallenge(statusLine, facts.authenticate)
  const sign = portalSign(facts, { host, registry: false, peer: 'plain' })
  if (sign !== undefined) return { code: 'captive_portal', detail: `to CONNECT came ${sign}` }
  return { code: status >= 500 ? 'proxy_failed' : 'proxy_denied', detail: said }
}

function judgeChallenge(statusLine: string, offered: string | undefined): Finding {
  const code = 'proxy_auth_required'
  if (offered === undefined) return { code, detail: statusLine }
  const detail = `${statusLine} (it offers ${offered})`
  const basic = /(?:^|,)\s*basic\b/i.test(offered.replaceAll(/"[^"]*"/g, ''))
  // What stands in a URL is sent as Basic, by the doctor and by most clients.
  return basic
    ? { code, detail }
    : {
        code,
        detail,
        ask: 'it takes no user and password from a URL (Basic): ask for an exemption for this machine or for these hosts, or go through a local proxy that speaks what it offers',
      }
}

function judgeSallyport(refusal: NonNullable<ConnectFacts['sallyport']>, status: number): Finding {
  const hint = refusal.hint === undefined ? '' : `, hint: ${refusal.hint}`
  const id = refusal.id === undefined ? '' : ` (id ${refusal.id})`
  const advice = adviceFor(refusal.code)
  const detail = `this Sallyport says ${refusal.code}${hint}${id}`
  // For the client to mend, unlike what follows.
  if (status === 407)
    return { code: 'proxy_auth_required', detail, ...(advice !== undefined && { ask: advice }) }
  return {
    code: status >= 500 ? 'proxy_failed' : 'proxy_denied',
    detail,
    ...(advice !== undefined && { ask: `at that Sallyport: ${advice}` }),
  }
}

export function namesOf({ names, subject }: Pick<TlsFacts, 'names' | 'subject'>): string {
  return names.length === 0 ? subject : list(names)
}

const LISTED = 3

export function list(items: readonly string[]): string {
  const more = items.length - LISTED
  return more > 0 ? `${items.slice(0, LISTED).join(', ')} and ${more} more` : items.join(', ')
}

function minutes(iso: string): string {
  return `${iso.slice(0, 10)} ${iso.slice(11, 16)}Z`
}

function span(seconds: number): string {
  const [amount, unit] =
    seconds >= 172_800
      ? [seconds / 86_400, 'days']
      : seconds >= 7200
        ? [seconds / 3600, 'hours']
        : [seconds / 60, 'minutes']
  return `${Math.round(amount)} ${unit}`
}
