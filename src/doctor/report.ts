/**
 * What the doctor knows in the end. `sallyport doctor --json` prints a {@link DoctorReport} as it is; within one `schema`
 * fields are only added. Everything that came from the network is escaped where it enters.
 */
import type { Finding } from './findings.ts'
import type { Verdict } from './verdict.ts'

export const REPORT_SCHEMA = 1

export interface DoctorReport {
  readonly schema: typeof REPORT_SCHEMA
  /** When it began, RFC 3339. */
  readonly startedAt: string
  readonly durationMs: number
  /** What the whole run might have taken, milliseconds. */
  readonly timeLimitMs: number
  /** The proxy, without credentials; `null`: directly. */
  readonly via: string | null
  readonly dns: { readonly source: 'config' | 'system'; readonly servers: readonly string[] }
  /** The hash of the policy whose hosts these are. */
  readonly policy: string
  readonly hosts: readonly HostReport[]
  /** Rules that were not probed, and why. */
  readonly notProbed: readonly { readonly rule: string; readonly why: string }[]
  readonly verdict: Verdict
}

export interface HostReport {
  readonly host: string
  readonly port: number
  /** `unfinished`: time was up, or the run was interrupted. */
  readonly status: 'well' | 'finding' | 'unfinished'
  readonly steps: readonly Step[]
  /** The one that matters most; the steps say what else was seen. */
  readonly finding: Finding | null
}

export interface Step {
  readonly name: StepName
  /** `note`: worth knowing, not in the way. */
  readonly mark: 'ok' | 'note' | 'fail'
  readonly durationMs: number
  /** One line for a person. */
  readonly text: string
  readonly dns?: DnsFacts
  readonly tcp?: TcpFacts
  readonly tls?: TlsFacts
  readonly http?: HttpFacts
  readonly connect?: ConnectFacts
}

export type StepName = 'policy' | 'dns' | 'guard' | 'proxy' | 'connect' | 'tcp' | 'tls' | 'http'

export interface DnsFacts {
  /** Whose answer is used; `static` for `dns.hosts`. */
  readonly resolver: string
  /** What each resolver said, in their order. */
  readonly asked: readonly ServerAnswer[]
  readonly addresses: readonly string[]
  /** The smallest of the whole chain; absent without an answer. */
  readonly ttlSeconds?: number
  /** The CNAME chain, the host itself left out. */
  readonly cnames: readonly string[]
  readonly ipv6: 'yes' | 'no' | 'unanswered'
}

export interface ServerAnswer {
  readonly server: string
  readonly kind: 'answer' | 'nxdomain' | 'nodata' | 'failed' | 'timeout'
  /** c-ares' name, such as ESERVFAIL; absent with an answer. */
  readonly code?: string
}

export interface TcpFacts {
  readonly tries: readonly TcpTry[]
  /** The address that the next steps use. */
  readonly address?: string
}

export interface TcpTry {
  readonly address: string
  readonly result: 'connected' | 'refused' | 'unreachable' | 'timeout' | 'other'
  /** The errno's name, such as ECONNREFUSED. */
  readonly code?: string
  readonly durationMs: number
}

export interface TlsFacts {
  readonly version: string
  readonly subject: string
  /** DNS names of the certificate. */
  readonly names: readonly string[]
  readonly nameMatches: boolean
  readonly issuer: string
  readonly validFrom: string
  readonly validTo: string
  /**
   * `public`: the chain ends in a root of the Mozilla list that Node brings. `local`: in a CA that only this machine
   * trusts. `unknown`: in neither.
   */
  readonly trust: 'public' | 'local' | 'unknown'
  /** OpenSSL's word when the chain does not verify against the Mozilla list. */
  readonly verifyError?: string
}

export interface HttpFacts {
  readonly request: string
  readonly status: number
  readonly statusLine: string
  readonly contentType?: string
  readonly location?: string
  readonly server?: string
  readonly firstLine?: string
  /** Our clock minus the answer's Date field, seconds; positive: ours is ahead. */
  readonly clockAheadSeconds?: number
}

export interface ConnectFacts {
  readonly status: number
  readonly statusLine: string
  readonly proxyStatus?: string
  readonly authenticate?: string
  readonly server?: string
  readonly location?: string
  readonly contentType?: string
  readonly firstLine?: string
  /** Present when the proxy is a Sallyport that refused. */
  readonly sallyport?: { readonly code: string; readonly hint?: string; readonly id?: string }
}
