import { randomFillSync } from 'node:crypto'

const ALPHABET = Buffer.from('0123456789ABCDEFGHJKMNPQRSTVWXYZ')
/** Digits of time in an id, then digits of chance. */
const TIME_DIGITS = 10
const DIGITS = 16
const POOL_BYTES = 64 * DIGITS

/**
 * Makes event ids: 26 characters, sortable by time (the ULID layout: 48 bits of milliseconds, 80 bits of chance).
 * Ids within one millisecond count up from the first, so that they sort in the order they were made.
 */
export function createEventIds(nowMs: () => number): () => string {
  let lastMs = -1
  // Read out as a whole: a string that is put together digit by digit stays the chain of its pieces, 400 bytes of it.
  const text = Buffer.alloc(TIME_DIGITS + DIGITS)
  const digits = new Uint8Array(DIGITS)
  // Drawn in bulk: a call for each millisecond's first id would cost more than all the rest.
  const pool = Buffer.alloc(POOL_BYTES)
  let drawn = POOL_BYTES
  return () => {
    const now = nowMs()
    if (now > lastMs) {
      lastMs = now
      writeTime(text, now)
      if (drawn === POOL_BYTES) {
        randomFillSync(pool)
        drawn = 0
      }
      for (let i = 0; i < DIGITS; i += 1) digits[i] = (pool[drawn + i] ?? 0) & 31
      drawn += DIGITS
    } else increment(digits)
    for (let i = 0; i < DIGITS; i += 1) text[TIME_DIGITS + i] = ALPHABET[digits[i] ?? 0] ?? 0
    return text.toString('latin1')
  }
}

function writeTime(text: Buffer, ms: number): void {
  for (let rest = ms, i = TIME_DIGITS - 1; i >= 0; i -= 1) {
    text[i] = ALPHABET[rest % 32] ?? 0
    rest = Math.floor(rest / 32)
  }
}

function increment(digits: Uint8Array): void {
  for (let i = digits.length - 1; i >= 0; i -= 1) {
    const next = ((digits[i] ?? 0) + 1) & 31
    digits[i] = next
    if (next !== 0) return
  }
}
