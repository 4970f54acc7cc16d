/** The way to the host: resolve, guard, tell the packet filter, dial. What is dialled is an address that passed, never a name. */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import type { DnsEvidence, Resolve } from '../dns/resolver.ts'
import type { LetIn } from '../firewall/admission.ts'
import type { Target } from '../policy/decide.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'
import type { Connection, Wire } from '../wire/types.ts'
import { dialFirst } from './dial.ts'
import type { Guard } from './guard.ts'

export interface ReachServices {
  readonly wire: Wire
  readonly clock: Clock
  readonly resolve: Resolve
  readonly guard: Guard
  /** Absent where the gate keeps no packet filter. */
  readonly letIn: LetIn | undefined
  readonly limits: { readonly dialTimeoutMs: number }
}

export interface Upstream {
  readonly kind: 'upstream'
  readonly connection: Connection
}

/** @param asStream whether the connection is to become a stream of Node's */
export async function reach(
  target: Target,
  client: Connection,
  attempt: Attempt,
  asStream: boolean,
  { clock, resolve, guard, letIn, wire, limits }: ReachServices,
): Promise<Upstream | Refusal> {
  let addresses: readonly string[] = [target.host]
  if (target.kind === 'name') {
    const known = resolve(target.host)
    const resolution = known instanceof Promise ? await Promise.race([known, client.gone]) : known
    if (!resolution) return refusal('client_gone', { detail: 'during DNS' })
    if (resolution.kind === 'failed') {
      return refusal(resolution.code, resolution.detail === undefined ? {} : { detail: resolution.detail })
    }
    attempt.dns = resolution.evidence
    addresses = resolution.evidence.answers
  }
  const prohibited = guard(addresses, target.port, attempt)
  if (prohibited) return prohibited

  const known = letIn?.(addresses, target.port, lifeLeftMs(attempt.dns)) ?? true
  const open = known instanceof Promise ? await Promise.race([known, client.gone]) : known
  if (open === undefined) return refusal('client_gone', { detail: 'before the dial' })
  if (!open) return refusal('firewall_failed')

  const dialled = await dialFirst(addresses, target.port, {
    wire,
    clock,
    timeoutMs: limits.dialTimeoutMs,
    client,
    asStream,
  })
  if (dialled.kind === 'aborted') return refusal('client_gone', { detail: 'during the dial' })
  attempt.tries = dialled.tries
  if (dialled.kind === 'failed')
    return refusal(dialled.code, { detail: `tried ${addresses.slice(0, 3).join(' ')}` })
  attempt.address = dialled.address
  return { kind: 'upstream', connection: dialled.connection }
}

/** A static answer holds for ever, and is let in anew as often as it is used. */
function lifeLeftMs(dns: DnsEvidence | undefined): number {
  return Math.max(0, ((dns?.ttlSeconds ?? 0) - (dns?.ageSeconds ?? 0)) * 1000)
}
