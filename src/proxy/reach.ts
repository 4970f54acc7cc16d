/** The way to the host: resolve, guard, dial. What is dialled is an address that passed, never a name. */
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import type { Resolve } from '../dns/resolver.ts'
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
  readonly limits: { readonly dialTimeoutMs: number }
}

export interface Upstream {
  readonly kind: 'upstream'
  readonly connection: Connection
}

export async function reach(
  target: Target,
  client: Connection,
  attempt: Attempt,
  { clock, resolve, guard, wire, limits }: ReachServices,
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
  const prohibited = guard(addresses, target.port)
  if (prohibited) return prohibited

  const dialled = await dialFirst(addresses, target.port, {
    wire,
    clock,
    timeoutMs: limits.dialTimeoutMs,
    client,
  })
  if (dialled.kind === 'aborted') return refusal('client_gone', { detail: 'during the dial' })
  attempt.tries = dialled.tries
  if (dialled.kind === 'failed')
    return refusal(dialled.code, { detail: `tried ${addresses.slice(0, 3).join(' ')}` })
  attempt.address = dialled.address
  return { kind: 'upstream', connection: dialled.connection }
}
