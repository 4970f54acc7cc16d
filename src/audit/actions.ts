/** What a record can be about: the values of `event.action`. */

const ATTEMPT_ACTIONS = [
  'tunnel-opened',
  'tunnel-closed',
  'tunnel-denied',
  'tunnel-failed',
  'request-forwarded',
  'denials-folded',
] as const

/** About the gate, not a client. */
export const GATE_ACTIONS = [
  'gate-started',
  'gate-reloaded',
  'gate-reload-failed',
  'gate-draining',
  'gate-stopped',
  'audit-recovered',
  'audit-rotated',
  'worker-lost',
  'worker-replaced',
] as const

export type AttemptAction = (typeof ATTEMPT_ACTIONS)[number]
export type GateAction = (typeof GATE_ACTIONS)[number]

/** All of them. */
export const AUDIT_ACTIONS: readonly (AttemptAction | GateAction)[] = [...ATTEMPT_ACTIONS, ...GATE_ACTIONS]
