/**
 * THE pipeline: one CONNECT from its first byte to its closing record. Each step answers with what the next one needs
 * or with a refusal, and a refusal goes straight to the end. docs/lifecycle.md draws it.
 */
import { beginAttempt, forgetWay, type Attempt } from '../audit/attempt.ts'
import type { Audit } from '../audit/journal.ts'
import type { Clock } from '../clock.ts'
import type { Resolve } from '../dns/resolver.ts'
import type { LetIn } from '../firewall/admission.ts'
import type { Forward } from '../forward/forward.ts'
import { parseAuthority } from '../policy/authority.ts'
import { decide, type Target } from '../policy/decide.ts'
import { outcome, type OutcomeCode } from '../policy/reasons.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import { sniCheckOf, type Policy, type SniCheck } from '../policy/rules.ts'
import { HandshakeWatch } from '../tls/handshake-watch.ts'
import type { Connection, Endpoint, RelayLimits, Wire } from '../wire/types.ts'
import type { Compare } from './candidate.ts'
import { CarriedTunnel } from './carried-tunnel.ts'
import type { Guard } from './guard.ts'
import { hostNamesTarget } from './head.ts'
import type { Identify } from './identify.ts'
import { checkClientHello } from './hello.ts'
import { proveAddress } from './ip-proof.ts'
import type { LoopGuard } from './loop-guard.ts'
import { reach } from './reach.ts'
import { readHead, type Request } from './read-head.ts'
import { readTransparent } from './read-transparent.ts'
import { ESTABLISHED, formatAlert, formatReply } from './refuse.ts'
import type { TunnelRegistry } from './tunnels.ts'

/** Everything the pipeline works with; made once, in one place. */
export interface Services {
  readonly wire: Wire
  readonly clock: Clock
  /** The policy in force now. */
  readonly policy: () => Policy
  readonly resolve: Resolve
  readonly guard: Guard
  /** Tells the packet filter what is about to be dialled; absent where the gate keeps none. */
  readonly letIn: LetIn | undefined
  /** Recognizes the gate's own traffic on a transparent listener. */
  readonly isLoop: LoopGuard
  readonly audit: Audit
  readonly tunnels: TunnelRegistry
  readonly nextId: () => string
  /** Whether a client address lies in `clients.allow`. */
  readonly clientAllowed: (address: string) => boolean
  /** Says who a client is and which policy it has; absent where all have `policy()`. */
  readonly identify: Identify | undefined
  /** Notes what `policy.candidate` says of an attempt where it says otherwise; absent without one. */
  readonly candidate: Compare | undefined
  /** Serves requests in absolute-form; absent where `forward.absoluteForm` is off. */
  readonly forward: Forward | undefined
  readonly limits: RelayLimits & {
    readonly headTimeoutMs: number
    readonly dialTimeoutMs: number
    readonly helloTimeoutMs: number
    /** How long a tunnel may be open, whatever flows; 0: as long as it likes. */
    readonly maxAgeMs: number
  }
  /** Whether the gate is shutting down. */
  readonly draining: () => boolean
  /** Unexpected errors: bugs, to be told to the operator. */
  readonly onBug: (error: unknown) => void
}

/** What the gate says of a connection that it has accepted. */
export type Admission = 'admitted' | 'stranger' | 'too_many_connections' | 'too_many_tunnels'

/** How a connection says where it wants to go: by a CONNECT request, or by its ClientHello alone. */
export type Front = 'connect' | 'transparent'

/** How long a refused client may take to read its reply and close. */
const REFUSAL_LINGER_MS = 2000

type Step<T> = T | Refusal

/**
 * Serves one accepted connection. `onEnd` is called once, when everything about it is over; a relay runs on after the
 * promise has settled, so that an open tunnel holds no suspended function. Never rejects.
 *
 * @param current what serves a request that has just been read: a reload in between counts
 * @param admission whether the gate has a place for it, and if not, why
 * @param source the client, where a load balancer has named another than the one that is connected
 * @param front what the listener that accepted it serves
 */
export async function serveConnection(
  client: Connection,
  current: () => Services,
  admission: Admission | Refusal,
  onEnd: () => void,
  source: Endpoint = client.remote,
  front: Front = 'connect',
): Promise<void> {
  const services = current()
  const policy = services.policy()
  const attempt = beginAttempt({
    id: services.nextId(),
    client: source,
    via: source === client.remote ? undefined : client.remote,
    startedMs: services.clock.monotonicMs(),
    policyHash: policy.hash,
    mode: policy.mode,
    transparent: front === 'transparent',
  })
  let end: Refusal | 'silent' | 'relaying' | 'ended'
  try {
    end =
      admission === 'admitted' || admission === 'stranger'
        ? await openTunnel(client, attempt, current, admission, onEnd)
        : typeof admission === 'string'
          ? refusal(admission)
          : admission
  } catch (error) {
    // Unexpected, so denied; and never a second decision on record.
    services.onBug(error)
    end = attempt.opened
      ? await closeUnrelayed(client, attempt, 'relay_failed', services)
      : refusal('internal_error')
  }
  if (end === 'relaying') return
  try {
    if (end === 'silent') client.destroy()
    else if (end !== 'ended') await refuse(client, attempt, end, services)
  } catch (error) {
    services.onBug(error)
    client.destroy()
  }
  onEnd()
}

/** Goes through the steps, to a refusal or to a running relay. */
async function openTunnel(
  client: Connection,
  attempt: Attempt,
  current: () => Services,
  admission: 'admitted' | 'stranger',
  onEnd: () => void,
): Promise<Refusal | 'silent' | 'relaying' | 'ended'> {
  const read = attempt.transparent ? readTransparent : readHead
  const head = await read(client, attempt, admission, current())
  if (head === 'silent' || head.kind === 'refusal') return head

  const services = current()
  const common = services.policy()
  attempt.policyHash = common.hash
  attempt.mode = common.mode
  const identified = services.identify?.(client, head, attempt) ?? common
  const policy = identified instanceof Promise ? await identified : identified
  if ('kind' in policy) return policy

  const target = admit(head, attempt, policy, services)
  if (target.kind === 'refusal') return target

  let upstream: Connection | undefined
  let relaying = false
  try {
    // Its certificate has to be one of a name.
    if (head.kind === 'absolute' && target.kind === 'ip') return refusal('ip_literal')
    // An address that no host name vouches for yet is not dialled: the client has to speak first.
    const unproven = target.kind === 'ip' && policy.ipLiterals === 'verify-sni'
    if (unproven) {
      establish(client, attempt, 'require')
      const denied = await proveAddress(client, target, attempt, policy, services)
      if (denied) return denied
    }
    const reached = await reach(target, client, attempt, head.kind === 'absolute', services)
    if (reached.kind === 'refusal') return reached
    upstream = reached.connection
    if (head.kind === 'absolute' && services.forward) {
      const end = await services.forward(head, client, upstream, attempt, services, onEnd)
      relaying = end === 'relaying'
      return end
    }
    if (!attempt.established) {
      establish(client, attempt, sniCheckOf(policy, attempt.rule))
      const denied = await checkFirstBytes(client, target, attempt, services)
      if (denied) return denied
    }

    services.audit.record({ kind: 'opened', attempt })
    attempt.opened = true
    const written = services.audit.written()
    if (written !== true && !(await written)) {
      return await closeUnrelayed(client, attempt, 'audit_failed', services)
    }
    const watch = watchOf(attempt)
    forgetWay(attempt)
    services.tunnels.add(new CarriedTunnel(client, upstream, attempt, watch, services, onEnd))
    relaying = true
    return 'relaying'
  } finally {
    if (!relaying) upstream?.destroy()
  }
}

/** Decides on the request alone: nothing is resolved before this allows it. */
function admit(head: Request, attempt: Attempt, policy: Policy, services: Services): Step<Target> {
  const authority = parseAuthority(head.target)
  if (
    authority.kind !== 'malformed' &&
    head.host !== undefined &&
    !hostNamesTarget(head.host, authority.host, authority.port)
  ) {
    attempt.target = { host: authority.host, port: authority.port, kind: authority.kind }
    return refusal('host_mismatch')
  }
  const decision = decide(policy, authority, services.clock.wallMs())
  services.candidate?.(attempt, authority, decision)
  if (decision.target) attempt.target = decision.target
  if (decision.kind === 'deny') return { kind: 'refusal', ...decision.denial }
  if (services.draining()) return refusal('draining')
  if (!services.audit.accepting) return refusal('audit_unavailable')
  if (decision.kind === 'allow') attempt.rule = decision.rule
  else if (decision.kind === 'report') attempt.wouldDeny = { kind: 'refusal', ...decision.denial }
  return decision.target
}

/** The 200: from here on a refusal is an alert, or silence where what flows need not be TLS. */
function establish(client: Connection, attempt: Attempt, sni: SniCheck): void {
  client.write(ESTABLISHED)
  attempt.established = true
  attempt.tlsExpected = sni === 'require'
}

/** After the 200: the ClientHello must name the target. In report mode a denial is noted, and passes. */
async function checkFirstBytes(
  client: Connection,
  target: Target,
  attempt: Attempt,
  { limits, clock }: Services,
): Promise<Refusal | undefined> {
  // An address has no server name to compare with; it gets here in report mode only.
  if (!attempt.tlsExpected || target.kind === 'ip') return undefined
  const denied = await checkClientHello(client, target.host, attempt, limits.helloTimeoutMs, clock)
  if (attempt.mode === 'enforce' || denied?.code === 'client_gone') return denied
  if (denied) attempt.wouldDeny ??= denied
  return undefined
}

/** Where the first ClientHello had to name the host, so has a second one. */
function watchOf({ mode, tlsExpected, tls }: Attempt): HandshakeWatch | undefined {
  const serverName = mode === 'enforce' && tlsExpected ? tls?.serverName : undefined
  return serverName === undefined ? undefined : new HandshakeWatch(serverName)
}

/** The opening is recorded, and nothing may flow or can: closed with nothing carried. */
async function closeUnrelayed(
  client: Connection,
  attempt: Attempt,
  code: 'audit_failed' | 'relay_failed',
  services: Services,
): Promise<'ended'> {
  const durationMs = services.clock.monotonicMs() - attempt.startedMs
  services.audit.record({ kind: 'closed', attempt, code, bytesUp: 0, bytesDown: 0, durationMs })
  await answer(client, attempt, code, undefined)
  return 'ended'
}

/** The one way out for everything that does not open: one record, one answer, a close. */
async function refuse(client: Connection, attempt: Attempt, why: Refusal, services: Services): Promise<void> {
  services.audit.record({ kind: 'refused', attempt, refusal: why })
  const reply = attempt.established ? undefined : formatReply(attempt, why)
  await answer(client, attempt, why.code, reply)
}

/** Sends the reply, or the alert where only TLS is still understood, and closes without cutting it off. */
async function answer(
  client: Connection,
  attempt: Attempt,
  code: OutcomeCode,
  reply: Buffer | undefined,
): Promise<void> {
  const tls = attempt.established ? attempt.tlsExpected : outcome(code).status === null
  const bytes = reply ?? (tls ? formatAlert(code) : undefined)
  if (bytes) client.write(bytes)
  await client.finish(REFUSAL_LINGER_MS)
}
