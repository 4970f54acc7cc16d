/** Names of rotated files: `audit.ndjson` becomes `audit-20261124T112031.123Z.ndjson`, so that they sort by time. */
import { basename, extname } from 'node:path'

const STAMP = /^([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2}\.[0-9]{3}Z)/

/**
 * The name of the file that is closed now. It sorts behind all that are there, also when the clock was set back.
 *
 * @param former what {@link formerFiles} says
 */
export function nameFormer(path: string, former: readonly string[], nowMs: number): string {
  const extension = extname(path)
  const start = `${basename(path, extension)}-`
  const last = former.at(-1)
  const lastMs = last === undefined ? 0 : timeOfFormer(path, last)
  const stamp = new Date(Math.max(nowMs, lastMs + 1)).toISOString().replace(/[-:]/g, '')
  return `${start}${stamp}${extension}`
}

/**
 * Those of `names` that are former files of this path, oldest first; also where somebody has compressed them with what
 * can be read again. While that is at work both are there, and the plain one counts.
 */
export function formerFiles(path: string, names: readonly string[]): readonly string[] {
  const extension = extname(path)
  const start = `${basename(path, extension)}-`
  const all = new Set(names)
  return names
    .filter((name) => {
      const rest = name.startsWith(start) ? name.slice(start.length) : ''
      const end = rest.replace(STAMP, '')
      return end !== rest && ['', '.gz', '.zst'].some((more) => end === `${extension}${more}`)
    })
    .filter((name) => !/\.(?:gz|zst)$/.test(name) || !all.has(name.replace(/\.[a-z]+$/, '')))
    .toSorted()
}

/** When a former file was closed, as its name says. */
export function timeOfFormer(path: string, name: string): number {
  return timeOf(name.slice(`${basename(path, extname(path))}-`.length))
}

function timeOf(stamp: string): number {
  const match = STAMP.exec(stamp)
  if (!match) return 0
  const [, year, month, day, hour, minute, rest] = match
  return Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${rest}`)
}
