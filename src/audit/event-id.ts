import { randomFillSync } from 'node:crypto'

const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ'
/** Digits of chance in an id. */
const DIGITS = 16
const POOL_BYTES = 64 * DIGITS

/**
 * Makes event ids: 26 characters, sortable by time (the ULID layout: 48 bits of milliseconds, 80 bits of chance).
 * Ids within one millisecond count up from the first, so that they sort in the order they were made.
 */
export function createEventIds(nowMs: () => number): () => string {
  let lastMs = -1
  let time = ''
  const digits = new Uint8Array(DIGITS)
  // Drawn in bulk: a call for each millisecond's first id would cost more than all the rest.
  const pool = Buffer.alloc(POOL_BYTES)
  let drawn = POOL_BYTES
  return () => {
    const now = nowMs()
    if (now > lastMs) {
      lastMs = now
      time = encodeTime(now)
      if (drawn === POOL_BYTES) {
        randomFillSync(pool)
        drawn = 0
      }
      for (let i = 0; i < DIGITS; i += 1) digits[i] = (pool[drawn + i] ?? 0) & 31
      drawn += DIGITS
    } else increment(digits)
    let id = time
    for (const digit of digits) id += ALPHABET.charAt(digit)
    return id
  }
}

function encodeTime(ms: number): string {
  let text = ''
  for (let rest = ms, i = 0; i < 10; i += 1) {
    text = ALPHABET.charAt(rest % 32) + text
    rest = Math.floor(rest / 32)
  }
  return text
}

function increment(digits: Uint8Array): void {
  for (let i = digits.length - 1; i >= 0; i -= 1) {
    const next = ((digits[i] ?? 0) + 1) & 31
    digits[i] = next
    if (next !== 0) return
  }
}
