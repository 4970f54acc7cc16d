/** What the review keeps of a record, and how it is read from one. */
import { RECORD_SCHEMA } from '../audit/record.ts'

export interface Denial {
  /** 1, or as many as a folded record stands for. */
  readonly count: number
  /** Milliseconds since the epoch. */
  readonly first: number
  readonly last: number
  /** The host, the address or the unreadable target, as recorded. */
  readonly host: string | null
  readonly port: number | null
  readonly reason: string
  readonly client: string | null
  readonly user: string | null
  /** The entry of `clients.rules` whose policy decided; null: the common policy. */
  readonly clientRule: string | null
  /** `service.node.name`: which gate of a fleet wrote it. */
  readonly node: string | null
  readonly hint: string | null
}

export type Reading =
  | { readonly kind: 'denial'; readonly timeMs: number; readonly denial: Denial }
  /** A tunnel that mode `report` let through and `enforce` would have denied. */
  | { readonly kind: 'would-deny'; readonly timeMs: number; readonly denial: Denial }
  /** Any other record. */
  | { readonly kind: 'record'; readonly timeMs: number }
  /** JSON, but no record of this program. */
  | { readonly kind: 'other' }
  | { readonly kind: 'bad'; readonly problem: 'schema' | 'time' | 'cut' }

/** Longer text than the gate writes is cut: it is not from the gate. */
const MAX_TEXT = 512

/** Reads a parsed line. Every field is checked: lines come from wherever. */
export function readRecord(value: unknown): Reading {
  const own = member(value, 'sallyport')
  if (own === undefined || typeof own !== 'object' || own === null) return { kind: 'other' }
  if (member(own, 'schema') !== RECORD_SCHEMA) return { kind: 'bad', problem: 'schema' }
  const timeMs = time(member(value, '@timestamp'))
  if (timeMs === undefined) return { kind: 'bad', problem: 'time' }
  const event = member(value, 'event')
  const wouldDeny = text(member(own, 'would_deny'))
  switch (member(event, 'action')) {
    case 'tunnel-denied':
      return {
        kind: 'denial',
        timeMs,
        denial: denialOf(value, text(member(event, 'reason')), timeMs, timeMs),
      }
    case 'tunnel-closed':
      // The one end of a tunnel that is a denial.
      return member(event, 'reason') === 'sni_changed'
        ? { kind: 'denial', timeMs, denial: denialOf(value, 'sni_changed', timeMs, timeMs) }
        : { kind: 'record', timeMs }
    case 'denials-folded': {
      const folded = member(own, 'folded')
      const first = time(member(folded, 'first')) ?? timeMs
      const last = time(member(folded, 'last')) ?? timeMs
      return { kind: 'denial', timeMs, denial: denialOf(value, text(member(event, 'reason')), first, last) }
    }
    case 'tunnel-opened':
    case 'request-forwarded':
      return wouldDeny === null
        ? { kind: 'record', timeMs }
        : { kind: 'would-deny', timeMs, denial: denialOf(value, wouldDeny, timeMs, timeMs) }
    default:
      return { kind: 'record', timeMs }
  }
}

function denialOf(record: unknown, reason: string | null, first: number, last: number): Denial {
  const own = member(record, 'sallyport')
  const source = member(record, 'source')
  const destination = member(record, 'destination')
  const count = member(member(own, 'folded'), 'count')
  return {
    count: typeof count === 'number' && Number.isSafeInteger(count) && count > 0 ? count : 1,
    first: Math.min(first, last),
    last: Math.max(first, last),
    host:
      text(member(destination, 'domain')) ?? text(member(destination, 'ip')) ?? text(member(own, 'target')),
    port: portOf(member(destination, 'port')),
    reason: reason ?? 'unknown',
    client: text(member(source, 'ip')),
    user: text(member(member(record, 'user'), 'name')),
    clientRule: text(member(own, 'client')),
    node: text(member(member(member(record, 'service'), 'node'), 'name')),
    hint: text(member(own, 'hint')),
  }
}

function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
  const found: unknown = Reflect.get(value, name)
  return found
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value.slice(0, MAX_TEXT) : null
}

function portOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 65_535 ? value : null
}

function time(value: unknown): number | undefined {
  if (typeof value !== 'string') return undefined
  const ms = Date.parse(value)
  if (Number.isNaN(ms)) return undefined
  // The 31st of November would be read as the first of December.
  const impossible = value.endsWith('Z') && new Date(ms).toISOString().slice(0, 10) !== value.slice(0, 10)
  return impossible ? undefined : ms
}
