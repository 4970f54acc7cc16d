/** The matrix of network faults: which one, on which side of the gate, at which moment, and what has to come of it. */
import type { CloseCode, OutcomeCode } from '../../src/policy/reasons.ts'

export const STAGES = [
  'before CONNECT',
  'head half sent',
  'during DNS',
  'during dial',
  'after the 200',
  'mid hello',
  'mid stream',
] as const
export type Stage = (typeof STAGES)[number]

export const FAULTS = [
  /** Everything this side sends from now on is late. */
  'latency',
  /** This side sends in small pieces, and slowly. */
  'bandwidth limit',
  'reset',
  /** FIN; this side goes on reading. */
  'half-close',
  /** Silence, and only then a close. */
  'slow close',
  /** A part of what was due, and a close at once. */
  'truncated stream',
  /** Nothing more is sent, read or closed; before the dial of a host: its SYNs are dropped. */
  'black hole',
] as const
export type Fault = (typeof FAULTS)[number]

export type Side = 'client' | 'host'

export interface Row {
  readonly side: Side
  readonly stage: Stage
  readonly fault: Fault
  /** The decision on record; none where the client never said a word. */
  readonly decision: OutcomeCode | undefined
  /** How the closing record may end a tunnel that was opened: more than one where both sides end it at once. */
  readonly closing: readonly CloseCode[]
  /** Which transfers are complete and equal by hash. */
  readonly survives: readonly ('up' | 'down')[]
}

type Expected = Pick<Row, 'decision' | 'closing' | 'survives'>

const WHOLE: Expected = { decision: 'allowed', closing: ['completed'], survives: ['up', 'down'] }
const refused = (decision: OutcomeCode | undefined): Expected => ({ decision, closing: [], survives: [] })
const cut = (...closing: readonly CloseCode[]): Expected => ({ decision: 'allowed', closing, survives: [] })

/** Every row: 7 moments, 7 faults, 2 sides. */
export const ROWS: readonly Row[] = STAGES.flatMap((stage) =>
  FAULTS.flatMap((fault) => [
    { side: 'client' as const, stage, fault, ...expectClient(stage, fault) },
    { side: 'host' as const, stage, fault, ...expectHost(stage, fault) },
  ]),
)

function expectClient(stage: Stage, fault: Fault): Expected {
  if (fault === 'latency' || fault === 'bandwidth limit') return WHOLE
  switch (stage) {
    case 'before CONNECT':
      // A connection that ends without a byte is no attempt.
      return refused(fault === 'black hole' ? 'head_timeout' : undefined)
    case 'head half sent':
      if (fault === 'black hole') return refused('head_timeout')
      return refused(fault === 'reset' ? 'client_gone' : 'malformed_request')
    case 'during DNS':
    case 'during dial':
    case 'after the 200':
    case 'mid hello':
      // A FIN behind a whole head is no reason to stop; the hello that then never comes is.
      return refused(fault === 'black hole' ? 'hello_timeout' : 'client_gone')
    case 'mid stream':
      if (fault === 'half-close') return { ...cut('completed'), survives: ['down'] }
      if (fault === 'black hole') return cut('idle_timeout')
      return fault === 'reset' ? cut('client_reset') : cut('completed', 'client_reset')
  }
}

function expectHost(stage: Stage, fault: Fault): Expected {
  const dialled = stage === 'after the 200' || stage === 'mid hello' || stage === 'mid stream'
  switch (fault) {
    case 'latency':
    case 'bandwidth limit':
      return WHOLE
    case 'reset':
      return dialled ? cut('upstream_reset') : refused('connect_refused')
    case 'half-close':
      return { ...cut('completed'), survives: ['up'] }
    case 'slow close':
    case 'truncated stream':
      // The client may still be sending when the host is gone.
      return cut('completed', 'upstream_reset')
    case 'black hole':
      return dialled ? cut('idle_timeout') : refused('connect_timeout')
  }
}

export function nameOf({ side, stage, fault }: Pick<Row, 'side' | 'stage' | 'fault'>): string {
  return `${fault} of the ${side} ${stage}`
}
