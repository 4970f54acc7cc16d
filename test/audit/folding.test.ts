/** Floods of denials are counted, exactly, and what is remembered of them is bounded. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Attempt } from '../../src/audit/attempt.ts'
import { Scribe } from '../../src/audit/scribe.ts'
import { refusal } from '../../src/policy/refusal.ts'
import type { RefusalCode } from '../../src/policy/reasons.ts'
import { Tally } from '../../src/workers/tally.ts'
import { ManualClock } from '../support/manual-clock.ts'

setFlagsFromString('--expose-gc')
const collectGarbage: () => void = runInNewContext('gc')

interface Line {
  readonly event: { readonly action: string; readonly reason: string }
  readonly source?: { readonly ip: string }
  readonly destination?: { readonly domain: string }
  readonly sallyport: {
    readonly folded?: {
      readonly count: number
      readonly candidate?: number
      readonly first: string
      readonly last: string
      readonly by: string
    }
  }
}

class Desk {
  readonly clock = new ManualClock()
  readonly lines: Line[] = []
  readonly tally = new Tally()
  readonly scribe = new Scribe(
    {
      clock: this.clock,
      record: 'denied',
      version: '0.0.0',
      nodeName: 'test',
      fold: { above: 10, withinMs: 10_000 },
    },
    (line) => {
      this.tally.note(line)
      const parsed: Line = JSON.parse(line)
      this.lines.push(parsed)
    },
  )

  deny(
    host: string | undefined,
    {
      client = '10.0.0.1',
      code = 'host_not_allowed',
      times = 1,
      candidate,
    }: {
      client?: string
      code?: RefusalCode
      times?: number
      candidate?: Attempt['candidate']
    } = {},
  ): void {
    const attempt: Attempt = {
      id: '01JDABCDEFGHJKMNPQRSTVWXYZ',
      client: { address: client, port: 50_122 },
      startedMs: 0,
      policyHash: 'sha256:0',
      mode: 'enforce',
      candidate,
      ...(host === undefined ? { rawTarget: 'nonsense' } : { target: { host, port: 443, kind: 'name' } }),
    }
    for (let i = 0; i < times; i += 1)
      this.scribe.record({ kind: 'refused', attempt, refusal: refusal(code) })
  }

  get single(): number {
    return this.lines.filter(({ event }) => event.action === 'tunnel-denied').length
  }

  get folds(): readonly Line[] {
    return this.lines.filter(({ event }) => event.action === 'denials-folded')
  }

  /** All denials that the records tell of. */
  get told(): number {
    return this.single + this.folds.reduce((sum, { sallyport }) => sum + (sallyport.folded?.count ?? 0), 0)
  }
}

test('a count is recorded when its own while is over, also when a younger one began to count before it', async () => {
  const desk = new Desk()
  desk.deny('older.example', { times: 10 })
  await desk.clock.advance(5000)
  desk.deny('younger.example', { times: 11 })
  await desk.clock.advance(4000)
  desk.deny('older.example')
  await desk.clock.advance(1000)
  expect(desk.folds.map(({ destination }) => destination?.domain)).toEqual(['older.example'])
  await desk.clock.advance(5000)
  expect(desk.folds.map(({ destination }) => destination?.domain)).toEqual([
    'older.example',
    'younger.example',
  ])
})

test('ten within ten seconds are recorded one by one', async () => {
  const desk = new Desk()
  desk.deny('a.example', { times: 10 })
  await desk.clock.advance(10_000)
  desk.deny('a.example', { times: 10 })
  desk.scribe.flushFolds()
  expect(desk.single).toBe(20)
  expect(desk.folds).toHaveLength(0)
})

test('more are counted, and the count is recorded when the ten seconds are over, with nobody asking', async () => {
  const desk = new Desk()
  desk.deny('a.example', { times: 12 })
  await desk.clock.advance(3000)
  desk.deny('a.example', { times: 30 })
  expect(desk.folds).toHaveLength(0)
  await desk.clock.advance(7000)
  expect(desk.single).toBe(10)
  expect(desk.folds).toEqual([
    expect.objectContaining({
      message: 'denied a.example:443 host_not_allowed 32 more times',
      source: { ip: '10.0.0.1' },
      destination: { domain: 'a.example', port: 443 },
      sallyport: expect.objectContaining({
        folded: {
          count: 32,
          first: '2026-11-23T00:00:00.000Z',
          last: '2026-11-23T00:00:03.000Z',
          by: 'host',
        },
      }),
    }),
  ])
  expect(desk.clock.timers).toBe(0)
})

test('another client, host, port or reason is counted by itself', () => {
  const desk = new Desk()
  desk.deny('a.example', { times: 10 })
  desk.deny('b.example', { times: 10 })
  desk.deny('a.example', { times: 10, client: '10.0.0.2' })
  desk.deny('a.example', { times: 10, code: 'rule_denied' })
  expect(desk.single).toBe(40)
})

test('targets that cannot be read are counted by client and reason', () => {
  const desk = new Desk()
  desk.deny(undefined, { times: 25, code: 'malformed_authority' })
  desk.scribe.flushFolds()
  expect(desk.single).toBe(10)
  expect(desk.folds).toEqual([
    expect.objectContaining({ message: 'denied many hosts malformed_authority 15 more times' }),
  ])
})

test('a count says of how many the policy to come says otherwise', () => {
  const desk = new Desk()
  const candidate = { decision: 'allowed', policy: 'sha256:1' } as const
  desk.deny('a.example', { times: 30, candidate })
  // Another candidate came with a reload, and has nothing to say of them.
  desk.deny('a.example', { times: 5 })
  desk.deny('b.example', { times: 30 })
  desk.scribe.flushFolds()
  const counts = desk.folds.map(({ sallyport: { folded } }) => [folded?.count, folded?.candidate])
  expect(counts).toEqual([
    [25, 20],
    [20, undefined],
  ])
})

test('failures are no denials: each has its record', () => {
  const desk = new Desk()
  desk.deny('a.example', { times: 100, code: 'dns_timeout' })
  expect(desk.lines).toHaveLength(100)
  expect(desk.scribe.totals.failed).toBe(100)
})

test('one client and 100,000 hosts: a hundred records and a count', () => {
  const desk = new Desk()
  for (let i = 0; i < 100_000; i += 1) desk.deny(`h${i}.example`)
  desk.scribe.flushFolds()
  expect(desk.single).toBe(100)
  expect(desk.folds).toEqual([
    expect.objectContaining({
      message: 'denied many hosts host_not_allowed 99900 more times',
      source: { ip: '10.0.0.1' },
      sallyport: expect.objectContaining({
        folded: expect.objectContaining({ count: 99_900, by: 'client' }),
      }),
    }),
  ])
})

test('100,000 clients and hosts: bounded records and memory, and an exact count', () => {
  const desk = new Desk()
  const bytes = (): number => {
    collectGarbage()
    return process.memoryUsage().heapUsed
  }
  const before = bytes()
  for (let i = 0; i < 100_000; i += 1)
    desk.deny(`h${i}.example`, { client: `10.${i >> 16}.${(i >> 8) & 255}.${i & 255}` })
  const held = bytes() - before
  expect(desk.single).toBe(1024)
  desk.scribe.flushFolds()
  expect(desk.folds).toHaveLength(1)
  expect(desk.folds[0]).toMatchObject({ sallyport: { folded: { count: 98_976, by: 'reason' } } })
  expect(desk.folds[0]).not.toHaveProperty('source')
  // Four thousand windows at most; 100,000 of them would be some 20 MB.
  expect(held).toBeLessThan(5e6)
})

describe('records, counters and truth agree', () => {
  test('whatever comes, whenever it comes', async () => {
    const step = fc.record({
      host: fc.constantFrom('a.example', 'b.example', undefined),
      client: fc.constantFrom('10.0.0.1', '10.0.0.2'),
      code: fc.constantFrom<RefusalCode>('host_not_allowed', 'rule_denied', 'malformed_request'),
      times: fc.nat(40),
      waitMs: fc.constantFrom(0, 1, 2500, 9999, 10_000, 30_000),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step), async (steps) => {
        const desk = new Desk()
        let denied = 0
        for (const { host, waitMs, ...how } of steps) {
          desk.deny(host, how)
          denied += how.times
          await desk.clock.advance(waitMs)
        }
        desk.scribe.flushFolds()
        expect(desk.told).toBe(denied)
        expect(desk.scribe.totals.denied).toBe(denied)
        expect(desk.tally.totals.denied).toBe(denied)
        expect(desk.clock.timers).toBe(0)
        for (const { sallyport } of desk.folds) {
          expect(sallyport.folded?.count).toBeGreaterThan(0)
          expect((sallyport.folded?.first ?? '') <= (sallyport.folded?.last ?? '')).toBe(true)
        }
      }),
      { numRuns: 60 },
    )
  })
})
