/** Moments as people write them: `2026-11-23`, `2026-11-23T08:00`, `24h`. */

const UNIT_MS: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 }
const DAY_MS = 86_400_000

/**
 * Milliseconds since the epoch. A duration counts back from now; a day is the whole day, UTC, so it begins at its start and
 * ends at its end; a time without a zone is UTC, as records are.
 */
export function parseMoment(text: string, nowMs: number, edge: 'start' | 'end'): number | undefined {
  const ago = /^([0-9]{1,6})(s|m|h|d|w)$/.exec(text)
  if (ago) return nowMs - Number(ago[1]) * (UNIT_MS[ago[2] ?? ''] ?? Number.NaN)
  const written =
    /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)(Z|[+-]\d{2}:\d{2})?)?$/.exec(text)
  if (!written) return undefined
  const [, day = '', clock, zone = 'Z'] = written
  const ms = Date.parse(clock === undefined ? `${day}T00:00:00Z` : `${day}T${clock}${zone}`)
  // 2026-02-30 would be read as the second of March.
  const real = Date.parse(`${day}T00:00:00Z`)
  if (Number.isNaN(ms) || Number.isNaN(real) || new Date(real).toISOString().slice(0, 10) !== day)
    return undefined
  return clock === undefined && edge === 'end' ? ms + DAY_MS - 1 : ms
}
