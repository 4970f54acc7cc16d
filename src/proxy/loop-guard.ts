/**
 * Notices the gate's own traffic where a packet filter redirects it back to the transparent listener: a ClientHello that
 * has just gone upstream comes in again, byte for byte. Each holds 32 random bytes (RFC 8446 section 4.1.2), so no two
 * clients send the same.
 */
import { LRUCache } from 'lru-cache'

/** Whether these first bytes have been seen just now; from then on they have. */
export type LoopGuard = (hello: Buffer) => boolean

/** Far longer than a dial to oneself takes. */
const REMEMBERED_MS = 60_000
const MAX_REMEMBERED = 4096
/** Record and message headers, version, random, and some. */
const TELLING_BYTES = 96

export function createLoopGuard(): LoopGuard {
  const seen = new LRUCache<string, true>({ max: MAX_REMEMBERED, ttl: REMEMBERED_MS })
  return (hello) => {
    const key = hello.toString('latin1', 0, TELLING_BYTES)
    const again = seen.has(key)
    seen.set(key, true)
    return again
  }
}
