/** Audit lines as the gate itself writes them, made without a gate. */
import type { Attempt } from '../../src/audit/attempt.ts'
import type { AuditEvent } from '../../src/audit/record.ts'
import { Scribe } from '../../src/audit/scribe.ts'
import { STAMP, formatStamp } from '../../src/audit/record.ts'
import type { Hint } from '../../src/policy/near-miss.ts'
import type { RefusalCode } from '../../src/policy/reasons.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { ManualClock } from './manual-clock.ts'

export interface DenialSketch {
  readonly at?: string
  readonly host?: string
  readonly port?: number
  readonly reason?: RefusalCode
  readonly client?: string
  readonly hint?: Hint
  readonly node?: string
  readonly user?: string
  readonly userAgent?: string
  /** An entry of `clients.rules`. */
  readonly rule?: string
}

const NOON = '2026-11-23T12:00:00.000Z'

export function attemptOf(sketch: DenialSketch = {}): Attempt {
  const { host = 'example.com', port = 443, client = '10.0.0.1', user, rule, userAgent = 'curl/8' } = sketch
  return {
    id: '01JDABCDEFGHJKMNPQRSTVWXYZ',
    client: { address: client, port: 50_122 },
    startedMs: 0,
    policyHash: `sha256:${'0'.repeat(64)}`,
    mode: 'enforce',
    method: 'CONNECT',
    version: '1.1',
    userAgent,
    ...(user !== undefined && { user }),
    ...(rule !== undefined && { clientRule: rule }),
    target: { kind: /^[0-9.]+$/.test(host) ? 'ip' : 'name', host, port },
  }
}

export function deniedLine(sketch: DenialSketch = {}): string {
  const { reason = 'host_not_allowed', hint } = sketch
  return lineOf(
    { kind: 'refused', attempt: attemptOf(sketch), refusal: refusal(reason, hint ? { hint } : {}) },
    sketch,
  )
}

export function openedLine(sketch: DenialSketch = {}, wouldDeny?: RefusalCode): string {
  const attempt = attemptOf(sketch)
  if (wouldDeny) attempt.wouldDeny = refusal(wouldDeny)
  return lineOf({ kind: 'opened', attempt }, sketch)
}

/** The line of an event, with its newline and stamp. */
export function lineOf(
  event: AuditEvent,
  { at = NOON, node = 'gate-1' }: Pick<DenialSketch, 'at' | 'node'> = {},
): string {
  let line = ''
  const scribe = new Scribe(
    {
      clock: new ManualClock(Date.parse(at)),
      record: 'all',
      version: '0.0.0',
      nodeName: node,
    },
    (text) => {
      line = text
    },
  )
  scribe.record(event)
  return line.replace(STAMP, formatStamp(1, `sha256:${'a'.repeat(64)}`))
}
