/** An open tunnel, from the record of its opening to the one of its end. */
import type { Attempt } from '../audit/attempt.ts'
import type { CloseCode } from '../policy/reasons.ts'
import type { Connection, Inspector, Relay, RelayOwner } from '../wire/types.ts'
import type { Services } from './connect.ts'
import type { Tunnel } from './tunnels.ts'

type CarryServices = Pick<Services, 'wire' | 'tunnels' | 'audit' | 'clock' | 'limits' | 'onBug'>

/** Joins the two sides; from here on the wire works alone, and `onEnd` is called when the closing record is written. */
export class CarriedTunnel implements Tunnel, RelayOwner {
  place = 0
  readonly attempt: Attempt
  readonly relay: Relay
  readonly #services: CarryServices
  readonly #onEnd: () => void
  readonly #forgetAge: (() => void) | undefined
  #begun = false

  constructor(
    client: Connection,
    upstream: Connection,
    attempt: Attempt,
    inspector: Inspector | undefined,
    services: CarryServices,
    onEnd: () => void,
  ) {
    const { wire, clock, limits } = services
    this.attempt = attempt
    this.#services = services
    this.#onEnd = onEnd
    this.relay = wire.relay(client, upstream, limits, this, inspector)
    this.#begun = true
    this.#forgetAge =
      limits.maxAgeMs > 0 ? clock.setTimer(() => this.relay.close('max_age'), limits.maxAgeMs) : undefined
  }

  ended(code: CloseCode): void {
    // A relay that could not be made at all is its maker's to tell of.
    if (!this.#begun) return
    const { clock, tunnels, audit, onBug } = this.#services
    const { attempt, relay } = this
    const { bytesUp, bytesDown } = relay
    const durationMs = clock.monotonicMs() - attempt.startedMs
    this.#forgetAge?.()
    tunnels.remove(this)
    try {
      audit.record({ kind: 'closed', attempt, code, bytesUp, bytesDown, durationMs })
    } catch (error) {
      onBug(error)
    }
    this.#onEnd()
  }
}
