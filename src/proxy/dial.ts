/**
 * Happy Eyeballs (RFC 8305) over addresses that passed the guard: IPv6 and IPv4 alternate, a new attempt starts
 * every 250 ms or as soon as one fails, the first connection wins and the others are dropped. One deadline for all.
 */
import type { Clock } from '../clock.ts'
import type { Connection, Dialing, DialFailure, DialResult, Wire } from '../wire/types.ts'
import type { DialTry } from '../audit/attempt.ts'

/** RFC 8305 §5, "Connection Attempt Delay". */
export const ATTEMPT_DELAY_MS = 250

/** Addresses tried for one tunnel; no honest host has more, and each try is a record's line. */
const MAX_TRIES = 16

export type DialOutcome =
  | {
      readonly kind: 'connected'
      readonly connection: Connection
      readonly address: string
      readonly tries: readonly DialTry[]
    }
  | {
      readonly kind: 'failed'
      readonly code: 'connect_refused' | 'connect_unreachable' | 'connect_timeout'
      readonly tries: readonly DialTry[]
    }
  | { readonly kind: 'aborted' }

export interface DialOptions {
  readonly wire: Pick<Wire, 'dial'>
  readonly clock: Clock
  readonly timeoutMs: number
  /** The connection is to become a stream of Node's. */
  readonly asStream?: boolean
  /** Who waits: when it is gone, so is the reason to go on. */
  readonly client: Pick<Connection, 'gone'>
}

export function dialFirst(
  addresses: readonly string[],
  port: number,
  options: DialOptions,
): Promise<DialOutcome> {
  return new Promise((resolve) => {
    new Race(alternateFamilies(addresses).slice(0, MAX_TRIES), port, options, resolve).start()
  })
}

interface Attempt {
  readonly address: string
  readonly startedMs: number
  readonly dialing: Dialing
}

class Race {
  /** Addresses not tried yet. */
  readonly #queue: string[]
  readonly #port: number
  readonly #options: DialOptions
  readonly #settled: (outcome: DialOutcome) => void
  #running: Attempt[] = []
  readonly #tries: DialTry[] = []
  readonly #failures: DialFailure[] = []
  #over = false
  #cancelDelay: (() => void) | undefined
  #cancelDeadline: (() => void) | undefined

  constructor(queue: string[], port: number, options: DialOptions, settled: (outcome: DialOutcome) => void) {
    this.#queue = queue
    this.#port = port
    this.#options = options
    this.#settled = settled
  }

  start(): void {
    const { clock, timeoutMs, client } = this.#options
    this.#cancelDeadline = clock.setTimer(() => this.#expire(), timeoutMs)
    void client.gone.then(() => this.#settle({ kind: 'aborted' }))
    this.#next()
  }

  #next(): void {
    const { wire, clock, asStream = false } = this.#options
    this.#cancelDelay?.()
    const address = this.#queue.shift()
    if (address === undefined) {
      if (this.#running.length === 0) {
        this.#settle({ kind: 'failed', code: codeOf(this.#failures), tries: this.#tries })
      }
      return
    }
    const attempt = {
      address,
      startedMs: clock.monotonicMs(),
      dialing: tryDial(wire, address, this.#port, asStream),
    }
    this.#running.push(attempt)
    if (this.#queue.length > 0) this.#cancelDelay = clock.setTimer(() => this.#next(), ATTEMPT_DELAY_MS)
    void attempt.dialing.result.then((result) => this.#arrive(attempt, result))
  }

  #arrive(attempt: Attempt, result: DialResult): void {
    if (this.#over) {
      if (result.kind === 'connected') result.connection.destroy()
      return
    }
    this.#running = this.#running.filter((one) => one !== attempt)
    const { address, startedMs } = attempt
    const ms = Math.round(this.#options.clock.monotonicMs() - startedMs)
    if (result.kind === 'connected') {
      this.#tries.push({ address, result: 'connected', ms })
      this.#settle({ kind: 'connected', connection: result.connection, address, tries: this.#tries })
      return
    }
    this.#tries.push({ address, result: result.code, ms })
    this.#failures.push(result.failure)
    this.#next()
  }

  #expire(): void {
    const now = this.#options.clock.monotonicMs()
    for (const { address, startedMs } of this.#running) {
      this.#tries.push({ address, result: 'no answer', ms: Math.round(now - startedMs) })
    }
    this.#settle({ kind: 'failed', code: 'connect_timeout', tries: this.#tries })
  }

  #settle(outcome: DialOutcome): void {
    if (this.#over) return
    this.#over = true
    this.#cancelDelay?.()
    this.#cancelDeadline?.()
    for (const { dialing } of this.#running) dialing.abort()
    this.#settled(outcome)
  }
}

/** A wire that throws has failed to dial; nobody above a timer could catch it. */
function tryDial(wire: Pick<Wire, 'dial'>, address: string, port: number, asStream: boolean): Dialing {
  try {
    return wire.dial(address, port, asStream)
  } catch (error) {
    const code = error instanceof Error ? error.message : String(error)
    return { result: Promise.resolve({ kind: 'failed', failure: 'other', code }), abort: () => undefined }
  }
}

/** IPv6 first, then one of each in turn (RFC 8305 §4), each family in the resolver's order. */
export function alternateFamilies(addresses: readonly string[]): string[] {
  if (addresses.length === 1) return [...addresses]
  const distinct = [...new Set(addresses)]
  const six = distinct.filter((address) => address.includes(':'))
  const four = distinct.filter((address) => !address.includes(':'))
  const mixed: string[] = []
  for (let i = 0; i < Math.max(six.length, four.length); i += 1) {
    for (const address of [six[i], four[i]]) if (address !== undefined) mixed.push(address)
  }
  return mixed
}

/** A host that says no tells more than one that is silent, and that more than a missing route. */
function codeOf(
  failures: readonly DialFailure[],
): 'connect_refused' | 'connect_unreachable' | 'connect_timeout' {
  if (failures.includes('refused')) return 'connect_refused'
  return failures.includes('timeout') ? 'connect_timeout' : 'connect_unreachable'
}
