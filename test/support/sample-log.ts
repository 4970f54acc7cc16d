/** A log of two days as a fleet writes it, the same for the same seed. */
import type { RefusalCode } from '../../src/policy/reasons.ts'
import type { Hint } from '../../src/policy/near-miss.ts'
import { deniedLine, openedLine } from './audit-records.ts'

interface Kind {
  readonly host: string
  readonly port?: number
  readonly reason?: RefusalCode
  readonly hint?: Hint
  readonly weight: number
  /** Hours of the two days in which it happens. */
  readonly hours: readonly [number, number]
}

const KINDS: readonly Kind[] = [
  { host: 'registry.example.com', weight: 40, hours: [0, 48] },
  { host: 'cgr.dv', hint: { kind: 'typo', value: 'cgr.dev' }, weight: 12, hours: [20, 30] },
  {
    host: 'apk.cgr.dev',
    hint: { kind: 'preset', value: 'chainguard-2026-10-08' },
    weight: 25,
    hours: [10, 48],
  },
  {
    host: 'cgr.dev',
    port: 8443,
    reason: 'port_not_allowed',
    hint: { kind: 'port', value: 'cgr.dev:443' },
    weight: 6,
    hours: [5, 9],
  },
  { host: '169.254.169.254', port: 80, reason: 'ip_literal', weight: 30, hours: [0, 48] },
  { host: 'cgr.dev', reason: 'sni_mismatch', weight: 3, hours: [40, 41] },
  { host: 'telemetry.tracker.example', weight: 18, hours: [0, 24] },
  { host: 'console.chainguard.dev', reason: 'address_prohibited', weight: 4, hours: [33, 36] },
]

export interface SampleOptions {
  readonly lines: number
  readonly end: number
  /** How many of a hundred lines are denials. */
  readonly denied: number
}

export function* sampleLog({ lines, end, denied }: SampleOptions): Generator<string, void, undefined> {
  const random = seeded(20_261_123)
  const pick = <T>(items: readonly T[]): T => {
    const item = items[Math.floor(random() * items.length)]
    if (item === undefined) throw new Error('nothing to pick')
    return item
  }
  const weighted = KINDS.flatMap((kind) => Array.from({ length: kind.weight }, () => kind))
  const span = 48 * 3_600_000
  for (let index = 0; index < lines; index += 1) {
    const timeMs = end - span + (index / lines) * span
    const at = new Date(timeMs).toISOString()
    const client = `10.1.${Math.floor(random() * 3)}.${1 + Math.floor(random() * random() * 30)}`
    const node = `gate-${Math.floor(random() * 3)}`
    const hour = (timeMs - end + span) / 3_600_000
    const kind = pick(weighted)
    if (random() * 100 < denied && hour >= kind.hours[0] && hour < kind.hours[1]) {
      const { host, port = 443, reason = 'host_not_allowed', hint } = kind
      yield deniedLine({ at, client, node, host, port, reason, ...(hint && { hint }) })
    } else yield openedLine({ at, client, node, host: 'cgr.dev' })
  }
}

/** Numbers from 0 to 1 that are the same every time (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}
