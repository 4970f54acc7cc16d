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

const FIELD = '"action":"'

/**
 * Where the action stands in a line of the trail; -1 in what is none. Nothing is parsed: inside a JSON string each quote
 * has a backslash before it, so the first bare one is the field.
 */
export function actionAt(line: string): number {
  const at = line.indexOf(FIELD)
  return at === -1 ? -1 : at + FIELD.length
}

/** @param at what {@link actionAt} says of the line */
export function actionOf(line: string, at: number): string {
  // One of the known, almost always: then nothing is cut out and hashed.
  for (const action of AUDIT_ACTIONS) {
    if (line.startsWith(action, at) && line.startsWith('"', at + action.length)) return action
  }
  return line.slice(at, line.indexOf('"', at))
}
