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
  /** Who waits: when it is gone, so is the reason to go on. */
  readonly client: Pick<Connection, 'gone'>
}

export function dialFirst(
  addresses: readonly string[],
  port: number,
  options: DialOptions,
): Promise<DialOutcome> {
  const { wire, clock } = options
  const queue = alternateFamilies(addresses).slice(0, MAX_TRIES)
  const running = new Map<string, { dialing: Dialing; startedMs: number }>()
  const tries: DialTry[] = []
  const failures: DialFailure[] = []

  return new Promise((resolve) => {
    let cancelDelay: () => void = () => undefined
    let settled = false
    const settle = (outcome: DialOutcome): void => {
      settled = true
      cancelDelay()
      cancelDeadline()
      for (const { dialing } of running.values()) dialing.abort()
      resolve(outcome)
    }
    const next = (): void => {
      cancelDelay()
      const address = queue.shift()
      if (address === undefined) {
        if (running.size === 0) settle({ kind: 'failed', code: codeOf(failures), tries })
        return
      }
      const startedMs = clock.monotonicMs()
      const dialing = tryDial(wire, address, port)
      running.set(address, { dialing, startedMs })
      if (queue.length > 0) cancelDelay = clock.setTimer(next, ATTEMPT_DELAY_MS)
      void dialing.result.then((result) => arrive(address, startedMs, result))
    }
    const arrive = (address: string, startedMs: number, result: DialResult): void => {
      if (settled) {
        if (result.kind === 'connected') result.connection.destroy()
        return
      }
      running.delete(address)
      const ms = Math.round(clock.monotonicMs() - startedMs)
      if (result.kind === 'connected') {
        tries.push({ address, result: 'connected', ms })
        settle({ kind: 'connected', connection: result.connection, address, tries })
        return
      }
      tries.push({ address, result: result.code, ms })
      failures.push(result.failure)
      next()
    }
    const cancelDeadline = clock.setTimer(() => {
      const now = clock.monotonicMs()
      for (const [address, { startedMs }] of running) {
        tries.push({ address, result: 'no answer', ms: Math.round(now - startedMs) })
      }
      settle({ kind: 'failed', code: 'connect_timeout', tries })
    }, options.timeoutMs)
    void options.client.gone.then(() => {
      if (!settled) settle({ kind: 'aborted' })
    })
    next()
  })
}

/** A wire that throws has failed to dial; nobody above a timer could catch it. */
function tryDial(wire: Pick<Wire, 'dial'>, address: string, port: number): Dialing {
  try {
    return wire.dial(address, port)
  } catch (error) {
    const code = error instanceof Error ? error.message : String(error)
    return { result: Promise.resolve({ kind: 'failed', failure: 'other', code }), abort: () => undefined }
  }
}

/** IPv6 first, then one of each in turn (RFC 8305 §4), each family in the resolver's order. */
export function alternateFamilies(addresses: readonly string[]): string[] {
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
