/**
 * The password file: one `name:$scrypt$ln=15,r=8,p=3$salt$hash` a line (PHC string format, unpadded base64), blank lines
 * and `#` comments between them. Pure: text in, entries out. `sallyport passwd` writes such lines.
 */
import { isUserName } from '../policy/clients.ts'

export interface ScryptCost {
  /** log2 of N, RFC 7914's CPU and memory cost. */
  readonly ln: number
  readonly r: number
  readonly p: number
}

export interface PasswordEntry {
  readonly user: string
  readonly cost: ScryptCost
  readonly salt: Buffer
  readonly hash: Buffer
}

export type PasswordFile =
  | { readonly ok: true; readonly entries: ReadonlyMap<string, PasswordEntry> }
  /** `line` is 1-based. */
  | { readonly ok: false; readonly line: number; readonly problem: string }

/** OWASP's Password Storage Cheat Sheet lists N=2^15, r=8, p=3 among its equal minima; it takes 32 MiB. */
export const DEFAULT_COST: ScryptCost = { ln: 15, r: 8, p: 3 }
export const SALT_BYTES = 16
export const HASH_BYTES = 32

/** Memory of one verification, in bytes (RFC 7914 section 5: 128 N r). */
export function memoryOf({ ln, r }: ScryptCost): number {
  return 128 * 2 ** ln * r
}

const MAX_MEMORY_BYTES = 128 * 1024 * 1024
/** Below it a guess is too cheap; above it one login would hold the others up. */
const MIN_LN = 14
const MAX_P = 8
const MAX_ENTRIES = 100_000
const ENTRY =
  /^\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,2}),p=([0-9]{1,2})\$([A-Za-z0-9+/]{1,88})\$([A-Za-z0-9+/]{1,88})$/

export function parsePasswordFile(text: string): PasswordFile {
  const entries = new Map<string, PasswordEntry>()
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.trim()
    if (line === '' || line.startsWith('#')) continue
    const entry = parseEntry(line)
    const problem =
      typeof entry === 'string'
        ? entry
        : entries.has(entry.user)
          ? `a second line for ${entry.user}`
          : entries.size >= MAX_ENTRIES
            ? `more than ${MAX_ENTRIES} users`
            : undefined
    if (problem !== undefined) return { ok: false, line: index + 1, problem }
    if (typeof entry !== 'string') entries.set(entry.user, entry)
  }
  return { ok: true, entries }
}

/** Says what is wrong in words that never quote the line: it is a secret, or next to one. */
function parseEntry(line: string): PasswordEntry | string {
  const colon = line.indexOf(':')
  if (colon === -1) return 'not `name:$scrypt$…`; make the line with `sallyport passwd NAME`'
  const user = line.slice(0, colon)
  if (!isUserName(user)) return 'the name has other characters than letters, digits and . _ @ -'
  const parts = ENTRY.exec(line.slice(colon + 1))
  if (!parts)
    return `the hash of ${user} is no \`$scrypt$…\`; make the line with \`sallyport passwd ${user}\``
  const cost = { ln: Number(parts[1]), r: Number(parts[2]), p: Number(parts[3]) }
  const salt = Buffer.from(parts[4] ?? '', 'base64')
  const hash = Buffer.from(parts[5] ?? '', 'base64')
  if (cost.ln < MIN_LN || cost.r < 1 || cost.p < 1 || cost.p > MAX_P || memoryOf(cost) > MAX_MEMORY_BYTES) {
    return `the cost of ${user}'s hash is outside ln ${MIN_LN} and up, p 1 to ${MAX_P}, 128 MiB`
  }
  if (salt.length < SALT_BYTES || hash.length < HASH_BYTES) return `the salt or hash of ${user} is too short`
  return { user, cost, salt, hash }
}

export function formatEntry({ user, cost, salt, hash }: PasswordEntry): string {
  const base64 = (bytes: Buffer): string => bytes.toString('base64').replace(/=+$/, '')
  return `${user}:$scrypt$ln=${cost.ln},r=${cost.r},p=${cost.p}$${base64(salt)}$${base64(hash)}`
}
