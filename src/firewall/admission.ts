/** The step before the dial: the packet filter has to know an address before a packet goes there. */
import { LRUCache } from 'lru-cache'
import type { Clock } from '../clock.ts'
import type { Element } from './ruleset.ts'

/** Puts elements into the filter, wherever that is kept. False: it could not. Never rejects. */
export type AdmitElements = (elements: readonly Element[]) => Promise<boolean>

/**
 * Sees to it that the addresses may be connected to: at once where they already are, which is so for most tunnels.
 *
 * @param lifeMs how long the answer that named them still holds
 */
export type LetIn = (addresses: readonly string[], port: number, lifeMs: number) => true | Promise<boolean>

export interface AdmissionOptions {
  readonly admit: AdmitElements
  readonly clock: Clock
  readonly graceMs: number
  /** Longer lifetimes are cut to this. */
  readonly maxLifeMs: number
  /** An address that stays for so long is there for the whole dial. */
  readonly dialTimeoutMs: number
}

const MAX_KNOWN = 8192
/** The same answer, a moment later, asks for nothing new. */
const SLACK_MS = 250

export function createAdmission(options: AdmissionOptions): LetIn {
  const { admit, clock, graceMs, maxLifeMs, dialTimeoutMs } = options
  /** When each leaves the filter; nobody ever shortens it. */
  const until = new LRUCache<string, number>({ max: MAX_KNOWN })
  return (addresses, port, lifeMs) => {
    const now = clock.monotonicMs()
    const timeoutMs = Math.min(lifeMs, maxLifeMs) + graceMs
    const needed = now + Math.min(timeoutMs - SLACK_MS, dialTimeoutMs)
    const missing = addresses.filter((address) => (until.get(`${address} ${port}`) ?? 0) < needed)
    if (missing.length === 0) return true
    return admit(missing.map((address) => ({ address, port, timeoutMs }))).then((admitted) => {
      if (admitted) for (const address of missing) until.set(`${address} ${port}`, now + timeoutMs)
      return admitted
    })
  }
}
