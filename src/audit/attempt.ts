/** What is known of one attempt to open a tunnel; it grows as the attempt goes down the pipeline. */
import type { DnsEvidence } from '../dns/resolver.ts'
import type { Target } from '../policy/decide.ts'
import type { OutcomeCode } from '../policy/reasons.ts'
import type { Refusal } from '../policy/refusal.ts'
import type { PolicyMode, Rule } from '../policy/rules.ts'
import type { Endpoint } from '../wire/types.ts'

/** One address that was tried. `result` is `connected` or the errno's name. */
export interface DialTry {
  readonly address: string
  readonly result: string
  readonly ms: number
}

/** What the policy to come says of an attempt. */
export interface CandidateVerdict {
  readonly decision: 'allowed' | 'denied'
  /** The outcome code, where it denies. */
  readonly reason?: OutcomeCode
  /** The policy's hash. */
  readonly policy: string
}

export interface Attempt {
  readonly id: string
  readonly client: Endpoint
  /** The load balancer that passed it on, where one did. */
  readonly via?: Endpoint | undefined
  readonly startedMs: number
  /** It came by a transparent listener: there was no CONNECT, and its ClientHello names the host. */
  readonly transparent?: boolean
  /** The policy under which it was decided. */
  policyHash: string
  mode: PolicyMode
  method?: string
  /** Without the `HTTP/`. */
  version?: string
  /** As received; escaped and bounded only when it is written somewhere. */
  rawTarget?: string
  userAgent?: string
  /** Who the client has proven to be: a user whose password was right, or the first name of its certificate. */
  user?: string | undefined
  /** All names of its certificate, where it has shown one that was verified. */
  certificateNames?: readonly string[]
  /** The entry of `clients.rules` that gave it its policy. */
  clientRule?: string
  target?: Target
  rule?: Rule
  /** `policy.mode: report`: what `enforce` would have said. */
  wouldDeny?: Refusal
  /** `policy.candidate`: what it says where it says otherwise. */
  candidate?: CandidateVerdict
  dns?: DnsEvidence
  /** The address that was connected to. */
  address?: string
  tries?: readonly DialTry[]
  /** The 200 is out: from here on a refusal is an alert, and an HTTP reply would be tunnel bytes. */
  established?: boolean
  /** What flows behind the 200 has to be TLS, so that an alert is understood. */
  tlsExpected?: boolean
  /** The opening is on record: whatever happens now ends with a closing record. */
  opened?: boolean
  /** A reload has taken its permission away, and `policy.onRevoke` is `keep`. */
  revoked?: boolean
  /** What the ClientHello offered; its server name is in canonical spelling. */
  tls?: {
    readonly serverName?: string
    readonly alpn: readonly string[]
    readonly versions: readonly string[]
  }
}
