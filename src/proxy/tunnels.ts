/** The open tunnels, how many each client has, and how they end together. */
import type { CloseCode } from '../policy/reasons.ts'
import type { Attempt } from '../audit/attempt.ts'
import type { Relay } from '../wire/types.ts'
import { Bag, type Placed } from './bag.ts'

export interface Tunnel extends Placed {
  readonly attempt: Attempt
  readonly relay: Relay
}

export class TunnelRegistry {
  #maxPerClient: number
  #closing: CloseCode | undefined
  /** `sinceMs`: monotonic clock; who came later was decided by the policy in force. */
  #revoking:
    | { readonly revoked: (attempt: Attempt) => boolean; readonly sinceMs: number; readonly close: boolean }
    | undefined
  readonly #open = new Bag<Tunnel>()
  /** By address: tunnels, and attempts on their way to one. A Map, since clients choose the keys. */
  readonly #perClient = new Map<string, number>()

  constructor(maxPerClient: number) {
    this.#maxPerClient = maxPerClient
  }

  /** From the next attempt on. */
  set maxPerClient(count: number) {
    this.#maxPerClient = count
  }

  /**
   * The open tunnels for which `revoked` holds. Where `close` says so they end with `policy_revoked`. The same goes for
   * each that was on its way already.
   */
  revoke(revoked: (attempt: Attempt) => boolean, close: boolean, nowMs: number): readonly Attempt[] {
    // One that an earlier reload revoked may be allowed again.
    for (const { attempt } of this.#open) attempt.revoked = revoked(attempt)
    const found = [...this.#open].filter(({ attempt }) => attempt.revoked)
    this.#revoking = { revoked, sinceMs: nowMs, close }
    if (close) for (const { relay } of found) relay.close('policy_revoked')
    return found.map(({ attempt }) => attempt)
  }

  /** Where the open tunnels lead. */
  *destinations(): Generator<{ readonly address: string; readonly port: number }> {
    for (const { attempt } of this.#open) {
      const { address, target } = attempt
      if (address !== undefined && target) yield { address, port: target.port }
    }
  }

  get size(): number {
    return this.#open.size
  }

  /** In no order. */
  get open(): Iterable<Tunnel> & { readonly size: number } {
    return this.#open
  }

  /** How many tunnels, and attempts on their way to one, the client has. */
  ofClient(client: string): number {
    return this.#perClient.get(client) ?? 0
  }

  /** Takes one of the client's places; false when it has none left. Each success needs a {@link release}. */
  reserve(client: string): boolean {
    const count = this.ofClient(client)
    if (count >= this.#maxPerClient) return false
    this.#perClient.set(client, count + 1)
    return true
  }

  release(client: string): void {
    const count = this.ofClient(client)
    if (count > 1) this.#perClient.set(client, count - 1)
    else this.#perClient.delete(client)
  }

  add(tunnel: Tunnel): void {
    this.#open.add(tunnel)
    if (this.#closing) tunnel.relay.close(this.#closing)
    const { attempt, relay } = tunnel
    const revoking = this.#revoking
    if (!revoking || attempt.startedMs > revoking.sinceMs || !revoking.revoked(attempt)) return
    attempt.revoked = true
    if (revoking.close) relay.close('policy_revoked')
  }

  remove(tunnel: Tunnel): void {
    this.#open.remove(tunnel)
  }

  /** Closes every tunnel, and each that still comes: an attempt may be past the point where it could be refused. */
  closeAll(code: CloseCode): void {
    this.#closing = code
    for (const tunnel of this.#open) tunnel.relay.close(code)
  }
}
