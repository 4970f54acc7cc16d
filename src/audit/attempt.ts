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
  readonly transparent?: boolean | undefined
  /** The policy under which it was decided. */
  policyHash: string
  mode: PolicyMode
  method?: string | undefined
  /** Without the `HTTP/`. */
  version?: string | undefined
  /** As received; escaped and bounded only when it is written somewhere. */
  rawTarget?: string | undefined
  userAgent?: string | undefined
  /** The user whose password was right. */
  user?: string | undefined
  /** All names of its certificate, where it has shown one that was verified. */
  certificateNames?: readonly string[] | undefined
  /** The entry of `clients.rules` that gave it its policy. */
  clientRule?: string | undefined
  target?: Target | undefined
  rule?: Rule | undefined
  /** `policy.mode: report`: what `enforce` would have said. */
  wouldDeny?: Refusal | undefined
  /** `policy.candidate`: what it says where it says otherwise. */
  candidate?: CandidateVerdict | undefined
  dns?: DnsEvidence | undefined
  /** The address that was connected to. */
  address?: string | undefined
  tries?: readonly DialTry[] | undefined
  /** The 200 is out: from here on a refusal is an alert, and an HTTP reply would be tunnel bytes. */
  established?: boolean | undefined
  /** What flows behind the 200 has to be TLS, so that an alert is understood. */
  tlsExpected?: boolean | undefined
  /** The opening is on record: whatever happens now ends with a closing record. */
  opened?: boolean | undefined
  /** A reload has taken its permission away, and `policy.onRevoke` is `keep`. */
  revoked?: boolean | undefined
  /** What the ClientHello offered; its server name is in canonical spelling. */
  tls?:
    | {
        readonly serverName?: string | undefined
        readonly alpn: readonly string[]
        readonly versions: readonly string[]
      }
    | undefined
}

/** What is known as a connection is accepted. */
export type Beginning = Pick<
  Attempt,
  'id' | 'client' | 'via' | 'startedMs' | 'policyHash' | 'mode' | 'transparent'
>

/** Every field is there from the first: an object that grows costs more, in time and in place, than one that is filled. */
export function beginAttempt(known: Beginning): Attempt {
  // Nothing was asked in HTTP on a transparent listener, so nothing is answered in it.
  const bare = known.transparent === true ? true : undefined
  return {
    id: known.id,
    client: known.client,
    via: known.via,
    startedMs: known.startedMs,
    transparent: bare,
    policyHash: known.policyHash,
    mode: known.mode,
    method: undefined,
    version: undefined,
    rawTarget: undefined,
    userAgent: undefined,
    user: undefined,
    certificateNames: undefined,
    clientRule: undefined,
    target: undefined,
    rule: undefined,
    wouldDeny: undefined,
    candidate: undefined,
    dns: undefined,
    address: undefined,
    tries: undefined,
    established: bare,
    tlsExpected: bare,
    opened: undefined,
    revoked: undefined,
    tls: undefined,
  }
}

/**
 * Lets go of what only the record of the opening needed, once that is written: a tunnel may stay open for days, and there
 * may be thousands. What its closing record, a reload or the admin API ask for stays.
 */
export function forgetWay(attempt: Attempt): void {
  attempt.method = undefined
  attempt.version = undefined
  attempt.rawTarget = undefined
  attempt.userAgent = undefined
  attempt.wouldDeny = undefined
  attempt.candidate = undefined
  attempt.dns = undefined
  attempt.tries = undefined
  // What vouches for an address that was asked for.
  const proof = attempt.target?.kind === 'ip' ? attempt.tls?.serverName : undefined
  attempt.tls = proof === undefined ? undefined : { serverName: proof, alpn: [], versions: [] }
}
