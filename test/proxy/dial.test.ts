/** Happy Eyeballs on a clock that stands still, over a wire that answers when told. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { alternateFamilies, dialFirst, type DialOutcome } from '../../src/proxy/dial.ts'
import type { Connection, Dialing, DialFailure, DialResult, Wire } from '../../src/wire/types.ts'
import { within } from '../support/deadline.ts'
import { ManualClock, settle } from '../support/manual-clock.ts'

const SIX = ['2001:db8::1', '2001:db8::2', '2001:db8::3']
const FOUR = ['192.0.2.1', '192.0.2.2', '192.0.2.3']

/** A connection that only knows whether it was destroyed. */
class ScriptedConnection implements Connection {
  readonly remote = { address: '192.0.2.1', port: 443 }
  readonly spoke = false
  readonly gone = new Promise<void>(() => undefined)
  destroyed = 0

  read(): never {
    throw new Error('dialling reads nothing')
  }

  unread(): never {
    throw new Error('dialling unreads nothing')
  }

  write(): never {
    throw new Error('dialling writes nothing')
  }

  end(): never {
    throw new Error('dialling ends nothing')
  }

  finish(): never {
    throw new Error('dialling finishes nothing')
  }

  destroy(): void {
    this.destroyed += 1
  }
}

interface Dialled {
  readonly address: string
  readonly port: number
  readonly atMs: number
  aborted: number
  connect(): ScriptedConnection
  fail(failure: DialFailure): void
}

class ScriptedWire implements Pick<Wire, 'dial'> {
  readonly dials: Dialled[] = []
  /** Addresses for which `dial` itself throws, and what. */
  readonly throws = new Map<string, unknown>()
  readonly #clock: ManualClock

  constructor(clock: ManualClock) {
    this.#clock = clock
  }

  dial(address: string, port: number): Dialing {
    const { promise, resolve } = Promise.withResolvers<DialResult>()
    const dialled: Dialled = {
      address,
      port,
      atMs: this.#clock.monotonicMs(),
      aborted: 0,
      connect() {
        const connection = new ScriptedConnection()
        resolve({ kind: 'connected', connection })
        return connection
      },
      fail: (failure) => resolve({ kind: 'failed', failure, code: `E${failure.toUpperCase()}` }),
    }
    this.dials.push(dialled)
    if (this.throws.has(address)) throw this.throws.get(address)
    return {
      result: promise,
      abort() {
        dialled.aborted += 1
      },
    }
  }

  get addresses(): readonly string[] {
    return this.dials.map(({ address }) => address)
  }

  to(address: string): Dialled {
    const dialled = this.dials.find((candidate) => candidate.address === address)
    if (!dialled) throw new Error(`${address} was not dialled, but ${this.addresses.join(' ')}`)
    return dialled
  }
}

interface Dialler {
  readonly clock: ManualClock
  readonly wire: ScriptedWire
  readonly leave: () => void
  /** How it ended so far. */
  readonly outcomes: readonly DialOutcome[]
  readonly outcome: () => Promise<DialOutcome>
}

function dial(addresses: readonly string[], options: { timeoutMs?: number; throws?: string } = {}): Dialler {
  const clock = new ManualClock()
  const wire = new ScriptedWire(clock)
  if (options.throws !== undefined) wire.throws.set(options.throws, new Error('no descriptors left'))
  const gone = Promise.withResolvers<void>()
  const outcomes: DialOutcome[] = []
  const { timeoutMs = 10_000 } = options
  const outcome = dialFirst(addresses, 443, { wire, clock, timeoutMs, client: { gone: gone.promise } })
  void outcome.then((how) => outcomes.push(how))
  return { clock, wire, leave: gone.resolve, outcomes, outcome: () => within(outcome, 'the outcome') }
}

describe('the order of addresses', () => {
  test.each([
    ['IPv6 first, then one of each', [...FOUR, ...SIX], [0, 1, 2].flatMap((i) => [SIX[i], FOUR[i]])],
    ['more of IPv4', [...FOUR, '2001:db8::1'], ['2001:db8::1', ...FOUR]],
    ['more of IPv6', ['192.0.2.1', ...SIX], [SIX[0], '192.0.2.1', SIX[1], SIX[2]]],
    ['IPv4 alone', FOUR, FOUR],
    ['IPv6 alone', SIX, SIX],
    ['none', [], []],
    ['one twice', ['192.0.2.1', '192.0.2.1'], ['192.0.2.1']],
    ['twice here and there', [...SIX, ...SIX, ...FOUR, ...FOUR], [0, 1, 2].flatMap((i) => [SIX[i], FOUR[i]])],
  ])('%s', (_what, given, expected) => {
    expect(alternateFamilies(given)).toEqual(expected)
  })

  test('every address once, each family in its order, in turn while both have any', () => {
    const some = fc.array(fc.constantFrom(...SIX, ...FOUR, '2001:db8::4', '192.0.2.4'), { maxLength: 12 })
    fc.assert(
      fc.property(some, (given) => {
        const mixed = alternateFamilies(given)
        const family = (six: boolean, list: readonly string[]): readonly string[] => [
          ...new Set(list.filter((address) => address.includes(':') === six)),
        ]
        for (const six of [true, false]) expect(family(six, mixed)).toEqual(family(six, given))
        expect(mixed).toHaveLength(new Set(given).size)
        const both = 2 * Math.min(family(true, given).length, family(false, given).length)
        const inTurn = mixed.slice(0, both).map((address) => address.includes(':'))
        expect(inTurn).toEqual(inTurn.map((_, index) => index % 2 === 0))
      }),
    )
  })
})

describe('attempts', () => {
  test('start 250 ms apart while none answers, all to the same port', async () => {
    const { clock, wire } = dial([...SIX, ...FOUR])
    expect(wire.dials).toHaveLength(1)
    await clock.advance(249)
    expect(wire.dials).toHaveLength(1)
    await clock.advance(1)
    expect(wire.dials).toHaveLength(2)
    await clock.advance(5000)
    expect(wire.dials.map(({ address, port, atMs }) => ({ address, port, atMs }))).toEqual(
      alternateFamilies([...SIX, ...FOUR]).map((address, index) => ({
        address,
        port: 443,
        atMs: index * 250,
      })),
    )
  })

  test('follow at once where one fails, and the next waits its whole 250 ms again', async () => {
    const { clock, wire } = dial(FOUR)
    await clock.advance(100)
    wire.to('192.0.2.1').fail('refused')
    await settle()
    expect(wire.to('192.0.2.2').atMs).toBe(100)
    await clock.advance(249)
    expect(wire.dials).toHaveLength(2)
    await clock.advance(1)
    expect(wire.to('192.0.2.3').atMs).toBe(350)
  })

  test('one failing while others still run starts the next and ends nothing', async () => {
    const { clock, wire, outcomes } = dial(FOUR)
    await clock.advance(250)
    wire.to('192.0.2.1').fail('unreachable')
    await settle()
    expect(wire.addresses).toEqual(FOUR)
    wire.to('192.0.2.3').fail('unreachable')
    await clock.advance(1000)
    expect(outcomes).toEqual([])
    wire.to('192.0.2.2').connect()
    await settle()
    expect(outcomes).toMatchObject([{ kind: 'connected', address: '192.0.2.2' }])
  })

  test('a duplicate is not dialled again', async () => {
    const { clock, wire } = dial(['192.0.2.1', '192.0.2.1', '192.0.2.2', '192.0.2.1'])
    await clock.advance(5000)
    expect(wire.addresses).toEqual(['192.0.2.1', '192.0.2.2'])
  })

  test('are 16 at most, in the order that counts', async () => {
    const six = Array.from({ length: 20 }, (_, index) => `2001:db8::${index + 1}`)
    const four = Array.from({ length: 20 }, (_, index) => `192.0.2.${index + 1}`)
    const { wire, outcome, clock } = dial([...four, ...six])
    for (let tried = 0; tried < 16; tried += 1) {
      wire.dials[tried]?.fail('refused')
      await settle()
    }
    const failed = await outcome()
    expect(failed).toMatchObject({ kind: 'failed', code: 'connect_refused' })
    expect(failed.kind === 'failed' && failed.tries).toHaveLength(16)
    expect(wire.addresses).toEqual(alternateFamilies([...six.slice(0, 8), ...four.slice(0, 8)]))
    expect(clock.timers).toBe(0)
  })

  test('there is none without an address', async () => {
    const { outcome, wire, clock } = dial([])
    expect(await outcome()).toEqual({ kind: 'failed', code: 'connect_unreachable', tries: [] })
    expect(wire.dials).toEqual([])
    expect(clock.timers).toBe(0)
  })
})

describe('the first connection', () => {
  test('wins, the other attempts are aborted, and no timer is left', async () => {
    const { clock, wire, outcome } = dial([...FOUR, '2001:db8::1'])
    await clock.advance(600)
    const connection = wire.to('192.0.2.1').connect()
    expect(await outcome()).toEqual({
      kind: 'connected',
      connection,
      address: '192.0.2.1',
      tries: [{ address: '192.0.2.1', result: 'connected', ms: 350 }],
    })
    expect(wire.dials.map(({ address, aborted }) => [address, aborted])).toEqual([
      ['2001:db8::1', 1],
      ['192.0.2.1', 0],
      ['192.0.2.2', 1],
    ])
    expect(clock.timers).toBe(0)
    await clock.advance(60_000)
    expect(wire.dials).toHaveLength(3)
    expect(connection.destroyed).toBe(0)
  })

  test('of two in the same turn one is handed over and the other is destroyed', async () => {
    const { clock, wire, outcome } = dial(FOUR)
    await clock.advance(250)
    const second = wire.to('192.0.2.2').connect()
    const first = wire.to('192.0.2.1').connect()
    expect(await outcome()).toMatchObject({ kind: 'connected', address: '192.0.2.2' })
    await settle()
    expect([first.destroyed, second.destroyed]).toEqual([1, 0])
  })

  test('a failed attempt that comes after it changes nothing', async () => {
    const { clock, wire, outcome } = dial(FOUR)
    await clock.advance(250)
    wire.to('192.0.2.2').connect()
    const won = await outcome()
    wire.to('192.0.2.1').fail('refused')
    await clock.advance(1000)
    expect(wire.dials).toHaveLength(2)
    expect(won).toMatchObject({ tries: [{ address: '192.0.2.2', result: 'connected', ms: 0 }] })
  })

  test('a client that goes away later does not take it back', async () => {
    const { wire, outcome, leave, outcomes } = dial(FOUR)
    const connection = wire.to('192.0.2.1').connect()
    await outcome()
    leave()
    await settle()
    expect(connection.destroyed).toBe(0)
    expect(wire.to('192.0.2.1').aborted).toBe(0)
    expect(outcomes).toHaveLength(1)
  })
})

describe('the deadline', () => {
  test('is one for all attempts, and aborts those that run', async () => {
    const { clock, wire, outcome, outcomes } = dial(FOUR, { timeoutMs: 600 })
    await clock.advance(599)
    expect(outcomes).toEqual([])
    await clock.advance(1)
    expect(await outcome()).toEqual({
      kind: 'failed',
      code: 'connect_timeout',
      tries: [
        { address: '192.0.2.1', result: 'no answer', ms: 600 },
        { address: '192.0.2.2', result: 'no answer', ms: 350 },
        { address: '192.0.2.3', result: 'no answer', ms: 100 },
      ],
    })
    expect(wire.dials.map(({ aborted }) => aborted)).toEqual([1, 1, 1])
    expect(clock.timers).toBe(0)
  })

  test('leaves untried what has not begun', async () => {
    const { clock, wire, outcome } = dial(FOUR, { timeoutMs: 300 })
    await clock.advance(60_000)
    expect(await outcome()).toMatchObject({ kind: 'failed', tries: [{ ms: 300 }, { ms: 50 }] })
    expect(wire.addresses).toEqual(['192.0.2.1', '192.0.2.2'])
  })

  test('destroys a connection that comes too late', async () => {
    const { clock, wire, outcome } = dial(FOUR, { timeoutMs: 100 })
    await clock.advance(100)
    const { kind } = await outcome()
    const late = wire.to('192.0.2.1').connect()
    await settle()
    expect(kind).toBe('failed')
    expect(late.destroyed).toBe(1)
  })

  test('lists what failed before it, too', async () => {
    const { clock, wire, outcome } = dial(['192.0.2.1', '2001:db8::1'], { timeoutMs: 1000 })
    await clock.advance(40)
    wire.to('2001:db8::1').fail('unreachable')
    await settle()
    await clock.advance(2000)
    expect(await outcome()).toMatchObject({
      code: 'connect_timeout',
      tries: [
        { address: '2001:db8::1', result: 'EUNREACHABLE', ms: 40 },
        { address: '192.0.2.1', result: 'no answer', ms: 960 },
      ],
    })
  })
})

describe('when all have failed', () => {
  test.each<[readonly DialFailure[], string]>([
    [['refused', 'timeout', 'unreachable'], 'connect_refused'],
    [['unreachable', 'timeout', 'refused'], 'connect_refused'],
    [['other', 'refused', 'other'], 'connect_refused'],
    [['unreachable', 'timeout', 'other'], 'connect_timeout'],
    [['timeout', 'unreachable', 'unreachable'], 'connect_timeout'],
    [['unreachable', 'unreachable', 'unreachable'], 'connect_unreachable'],
    [['other', 'other', 'other'], 'connect_unreachable'],
  ])('%j is %s', async (failures, code) => {
    const { clock, wire, outcome } = dial(FOUR)
    for (const [index, failure] of failures.entries()) {
      await clock.advance(10)
      wire.dials[index]?.fail(failure)
      await settle()
    }
    expect(await outcome()).toEqual({
      kind: 'failed',
      code,
      tries: FOUR.map((address, index) => ({
        address,
        result: `E${failures[index]?.toUpperCase()}`,
        ms: 10,
      })),
    })
    expect(wire.dials.map(({ aborted }) => aborted)).toEqual([0, 0, 0])
    expect(clock.timers).toBe(0)
  })

  test('the last one to fail ends it, whichever it is', async () => {
    const { clock, wire, outcome, outcomes } = dial(FOUR)
    await clock.advance(500)
    wire.to('192.0.2.3').fail('timeout')
    wire.to('192.0.2.1').fail('timeout')
    await settle()
    await clock.advance(500)
    expect(outcomes).toEqual([])
    wire.to('192.0.2.2').fail('refused')
    expect(await outcome()).toMatchObject({
      code: 'connect_refused',
      tries: [
        { address: '192.0.2.3', ms: 0 },
        { address: '192.0.2.1', ms: 500 },
        { address: '192.0.2.2', ms: 750 },
      ],
    })
  })
})

describe('a client that goes away', () => {
  test('aborts every attempt, and nothing new starts', async () => {
    const { clock, wire, leave, outcome } = dial([...FOUR, ...SIX])
    await clock.advance(250)
    leave()
    expect(await outcome()).toEqual({ kind: 'aborted' })
    expect(wire.dials.map(({ aborted }) => aborted)).toEqual([1, 1])
    expect(clock.timers).toBe(0)
    await clock.advance(60_000)
    expect(wire.dials).toHaveLength(2)
  })

  test('leaves no connection behind that comes later', async () => {
    const { wire, leave, outcome } = dial(FOUR)
    leave()
    await outcome()
    const late = wire.to('192.0.2.1').connect()
    await settle()
    expect(late.destroyed).toBe(1)
  })

  test('a failure that comes later starts nothing', async () => {
    const { wire, leave, outcome } = dial(FOUR)
    leave()
    await outcome()
    wire.to('192.0.2.1').fail('refused')
    await settle()
    expect(wire.dials).toHaveLength(1)
  })
})

describe('a wire that throws', () => {
  test('has failed to dial this address, and the next one is tried at once', async () => {
    const { wire, outcome } = dial(FOUR, { throws: '192.0.2.1' })
    await settle()
    expect(wire.addresses).toEqual(['192.0.2.1', '192.0.2.2'])
    wire.to('192.0.2.2').connect()
    expect(await outcome()).toMatchObject({
      kind: 'connected',
      tries: [
        { address: '192.0.2.1', result: 'no descriptors left', ms: 0 },
        { address: '192.0.2.2', result: 'connected' },
      ],
    })
  })

  test('above a timer it harms nobody', async () => {
    const { clock, wire, outcome } = dial(FOUR, { throws: '192.0.2.2' })
    await clock.advance(250)
    expect(wire.to('192.0.2.3').atMs).toBe(250)
    wire.to('192.0.2.3').fail('other')
    wire.to('192.0.2.1').fail('other')
    expect(await outcome()).toMatchObject({ kind: 'failed', code: 'connect_unreachable' })
  })

  test('each time is a dial that failed, and not a rejection', async () => {
    const { outcome } = dial(['192.0.2.1'], { throws: '192.0.2.1' })
    expect(await outcome()).toMatchObject({ kind: 'failed', code: 'connect_unreachable', tries: [{ ms: 0 }] })
  })
})
