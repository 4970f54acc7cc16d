/** The address guard at the edge: the pure rule of `policy/addresses.ts`, with this host's own addresses. */
import { networkInterfaces } from 'node:os'
import type { Attempt } from '../audit/attempt.ts'
import type { Clock } from '../clock.ts'
import { canonicalAddress, classifyAddress, type AddressBlock } from '../policy/addresses.ts'
import type { Endpoint } from '../wire/types.ts'
import { refusal, type Refusal } from '../policy/refusal.ts'

/**
 * Checks every address of a host; one that must not be dialled refuses them all.
 *
 * @param attempt where what `policy.candidate` says is noted; nothing else depends on it
 */
export type Guard = (addresses: readonly string[], port: number, attempt?: Attempt) => Refusal | undefined

export interface GuardOptions {
  /** `addresses.allow`. */
  readonly allow: readonly AddressBlock[]
  readonly clock: Clock
  /** Where this proxy listens; never a destination, whatever is allowed: a tunnel to itself has no end. */
  readonly listeners: () => readonly Endpoint[]
  /** This host's addresses; default: its network interfaces. */
  readonly ownAddresses?: () => ReadonlySet<string>
}

/** Interfaces come and go; asking the system for each tunnel would cost more than the tunnel. */
const OWN_ADDRESSES_KEPT_MS = 5000

export function createGuard(options: GuardOptions): Guard {
  const ownAddresses = options.ownAddresses ?? readInterfaces
  let own: ReadonlySet<string> = new Set()
  let readAtMs = Number.NEGATIVE_INFINITY
  /** Answers that passed, by identity: one cached answer serves many tunnels, and is looked at once. */
  let passed = new WeakMap<readonly string[], number>()
  return (addresses, port) => {
    const now = options.clock.monotonicMs()
    if (now - readAtMs >= OWN_ADDRESSES_KEPT_MS) {
      own = ownAddresses()
      readAtMs = now
      passed = new WeakMap()
    }
    if (passed.get(addresses) === port) return undefined
    for (const address of addresses) {
      if (isOwnListener(address, port, own, options.listeners())) {
        return refusal('address_prohibited', { detail: `${address} port ${port} is this proxy itself` })
      }
      const verdict = classifyAddress(address, options.allow, own)
      if (verdict.kind === 'prohibited') {
        return refusal('address_prohibited', { detail: `${address} is ${verdict.name}` })
      }
    }
    passed.set(addresses, port)
    return undefined
  }
}

function isOwnListener(
  address: string,
  port: number,
  own: ReadonlySet<string>,
  listeners: readonly Endpoint[],
): boolean {
  const canonical = canonicalAddress(address)
  if (canonical === undefined) return false
  return listeners.some((listener) => {
    if (listener.port !== port) return false
    const bound = canonicalAddress(listener.address)
    const everywhere = bound === '0.0.0.0' || bound === '::'
    return canonical === bound || (everywhere && (own.has(canonical) || canonical.startsWith('127.')))
  })
}

function readInterfaces(): ReadonlySet<string> {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) => entries ?? [])
  return new Set(addresses.flatMap(({ address }) => canonicalAddress(address) ?? []))
}
