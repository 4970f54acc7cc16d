/** Open tunnels that a new policy would refuse, as they are told and recorded. */
import type { Attempt } from '../audit/attempt.ts'
import { authorityOf } from '../policy/refusal.ts'
import type { RevokedTunnels } from './protocol.ts'

/** A record is for reading; who needs all of them asks for the open tunnels. */
const MAX_LISTED = 32

export function listRevoked(attempts: readonly Attempt[]): RevokedTunnels {
  return {
    count: attempts.length,
    listed: attempts.slice(0, MAX_LISTED).map(({ id, target, client }) => ({
      id,
      target: target ? authorityOf(target) : '',
      client: client.address,
    })),
  }
}

export function sumRevoked(parts: readonly RevokedTunnels[]): RevokedTunnels {
  return {
    count: parts.reduce((sum, { count }) => sum + count, 0),
    listed: parts.flatMap(({ listed }) => listed).slice(0, MAX_LISTED),
  }
}
