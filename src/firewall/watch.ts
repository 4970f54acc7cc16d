/** Asks for every host again when its TTL ends, for as long as it runs, and lets in what the answer says. */
import type { Clock } from '../clock.ts'
import { elementsOf, type HostAddresses } from './look-up.ts'
import type { Element } from './ruleset.ts'

export interface WatchOptions {
  /** Each with the ports on which it is allowed now: looked at before each question, since rules expire. */
  readonly hosts: ReadonlyMap<string, () => readonly number[]>
  readonly lookUp: (host: string, ports: readonly number[]) => Promise<HostAddresses>
  readonly admit: (elements: readonly Element[]) => Promise<void>
  readonly clock: Clock
  readonly graceMs: number
  /** Told when a host's addresses change, or cannot be had. */
  readonly say: (text: string) => void
}

/**
 * A TTL is in whole seconds, rounded down by caches: an answer may come once more at its end. Until the new one is in,
 * a client's first packet to it is dropped, and TCP sends it again after a second.
 */
const SOONEST_MS = 500
const FIRST_RETRY_MS = 1000
const LONGEST_RETRY_MS = 30_000
/** How often a host that no rule allows is looked at again: what denied it may expire. */
const LOOK_AGAIN_MS = 15_000

/** @param first what is known already, so that nothing is asked twice at the start */
export function watchHosts(options: WatchOptions, first: ReadonlyMap<string, HostAddresses>): () => void {
  const timers = new Map<string, () => void>()
  const said = new Map<string, string>()
  let stopped = false

  function sayOnce(host: string, text: string): void {
    if (said.get(host) === text) return
    said.set(host, text)
    options.say(`${host}: ${text}`)
  }

  function again(host: string, afterMs: number, retryMs: number): void {
    if (stopped) return
    timers.set(
      host,
      options.clock.setTimer(() => void ask(host, retryMs), afterMs),
    )
  }

  async function ask(host: string, retryMs: number): Promise<void> {
    const ports = options.hosts.get(host)?.() ?? []
    if (ports.length === 0) {
      if (said.has(host))
        sayOnce(host, 'no rule allows it any more; what is let in stays until its time is over')
      again(host, LOOK_AGAIN_MS, FIRST_RETRY_MS)
      return
    }
    const found = await options.lookUp(host, ports)
    if (!stopped) await take(host, ports, found, retryMs)
  }

  async function take(
    host: string,
    ports: readonly number[],
    found: HostAddresses,
    retryMs: number,
  ): Promise<void> {
    const later = Math.min(retryMs * 2, LONGEST_RETRY_MS)
    if (found.kind === 'none') {
      sayOnce(host, `${found.why}; what is let in stays until its time is over`)
      again(host, retryMs, later)
      return
    }
    try {
      await options.admit(elementsOf(found, ports, options.graceMs))
      const { addresses, lifeMs, lacking } = found
      sayOnce(host, [addresses.toSorted().join(', '), ...(lacking === undefined ? [] : [lacking])].join('; '))
      const untilMs = Math.max(lifeMs, SOONEST_MS)
      // The TTL of one family says nothing about the other, which clients may have been told meanwhile.
      if (lacking === undefined) again(host, untilMs, FIRST_RETRY_MS)
      else again(host, Math.min(untilMs, retryMs), later)
    } catch (error) {
      sayOnce(host, error instanceof Error ? error.message : String(error))
      again(host, retryMs, later)
    }
  }

  for (const [host, portsNow] of options.hosts) {
    const found = first.get(host)
    void (found ? take(host, portsNow(), found, FIRST_RETRY_MS) : ask(host, FIRST_RETRY_MS))
  }
  return () => {
    stopped = true
    for (const cancel of timers.values()) cancel()
  }
}
