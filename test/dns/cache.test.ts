import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DnsCache, type CacheOptions, type Lookup } from '../../src/dns/cache.ts'
import { ManualClock, settle } from '../support/manual-clock.ts'
import { answer, NODATA, NXDOMAIN, ScriptedQuery, SERVFAIL, TIMEOUT } from '../support/scripted-query.ts'

const OPTIONS: CacheOptions = { prefetch: false, maxTtlMs: 3_600_000, negativeTtlMs: 5000, staleOnErrorMs: 0 }

function setUp(options: Partial<CacheOptions> = {}) {
  const clock = new ManualClock()
  const script = new ScriptedQuery()
  const cache = new DnsCache(script.query, clock, { ...OPTIONS, ...options })
  const look = async (name = 'cgr.dev'): Promise<Lookup> => cache.lookup(name, 'A')
  return { clock, script, cache, look }
}

function addressesOf(lookup: Lookup): readonly string[] {
  return lookup.result.kind === 'answer' ? lookup.result.addresses : []
}

describe('an answer and its TTL', () => {
  test('serves until the last millisecond of its TTL, and not in the next', async () => {
    const { clock, script, look } = setUp()
    script.reply = () => answer(60, '192.0.2.1')
    expect((await look()).source).toBe('miss')
    await clock.advance(59_999)
    expect(await look()).toMatchObject({ source: 'hit', ageMs: 59_999 })
    expect(script.asked).toHaveLength(1)
    await clock.advance(1)
    expect((await look()).source).toBe('miss')
    expect(script.asked).toHaveLength(2)
  })

  test('with TTL 0 is used once and never stored', async () => {
    const { script, cache, look } = setUp()
    script.reply = () => answer(0, '192.0.2.1')
    expect(addressesOf(await look())).toEqual(['192.0.2.1'])
    expect(cache.size).toBe(0)
    expect((await look()).source).toBe('miss')
    expect(script.asked).toHaveLength(2)
  })

  test('with TTL 0 takes the place of an older answer', async () => {
    const { clock, script, cache, look } = setUp({ staleOnErrorMs: 60_000 })
    script.reply = () => answer(1, '192.0.2.1')
    await look()
    await clock.advance(1000)
    script.reply = () => answer(0, '192.0.2.2')
    expect(addressesOf(await look())).toEqual(['192.0.2.2'])
    expect(cache.stale('cgr.dev', 'A')).toBeUndefined()
  })

  test('longer than maxTtl is cut to it', async () => {
    const { clock, script, look } = setUp({ maxTtlMs: 10_000 })
    script.reply = () => answer(0x7fff_ffff, '192.0.2.1')
    await look()
    await clock.advance(10_000)
    expect((await look()).source).toBe('miss')
  })

  test('whatever the TTLs and the pauses, no lookup is ever answered past the TTL', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.integer({ min: 0, max: 20 }), fc.integer({ min: 0, max: 30_000 })), {
          maxLength: 25,
        }),
        fc.boolean(),
        async (visits, prefetch) => {
          const { clock, script, look } = setUp({ prefetch })
          const born = new Map<string, { at: number; ttlMs: number }>()
          let number = 0
          for (const [ttlSeconds, pauseMs] of visits) {
            script.reply = () => {
              number += 1
              born.set(`192.0.2.${number}`, { at: clock.monotonicMs(), ttlMs: ttlSeconds * 1000 })
              return answer(ttlSeconds, `192.0.2.${number}`)
            }
            await clock.advance(pauseMs)
            const lookup = await look()
            const birth = born.get(addressesOf(lookup)[0] ?? '')
            const ageMs = clock.monotonicMs() - (birth?.at ?? Number.NaN)
            expect(ageMs).toBeLessThanOrEqual(birth?.ttlMs ?? -1)
            expect(lookup.ageMs).toBe(ageMs)
          }
        },
      ),
    )
  })
})

describe('many at once', () => {
  test('a thousand lookups of a cold name make one question', async () => {
    const { script, look } = setUp()
    const lookups = Array.from({ length: 1000 }, () => look())
    await settle()
    expect(script.asked).toHaveLength(1)
    script.asked[0]?.answer(answer(60, '192.0.2.1'))
    const answers = await Promise.all(lookups)
    expect(new Set(answers.map((lookup) => addressesOf(lookup).join(',')))).toEqual(new Set(['192.0.2.1']))
  })

  test('A and AAAA of one name are two questions', async () => {
    const { script, cache } = setUp()
    void cache.lookup('cgr.dev', 'A')
    void cache.lookup('cgr.dev', 'AAAA')
    void cache.lookup('cgr.dev', 'AAAA')
    await settle()
    expect(script.asked.map((one) => one.type)).toEqual(['A', 'AAAA'])
  })

  test('the number of names kept is bounded', async () => {
    const { script, cache, look } = setUp({ maxEntries: 50, prefetch: true })
    script.reply = () => answer(3600, '192.0.2.1')
    for (let i = 0; i < 500; i += 1) await look(`host-${i}.example.com`)
    expect(cache.size).toBe(50)
  })

  test('a name pushed out takes its refresh timer along', async () => {
    const { clock, script, look } = setUp({ maxEntries: 10, prefetch: true })
    script.reply = () => answer(3600, '192.0.2.1')
    for (let i = 0; i < 100; i += 1) await look(`host-${i}.example.com`)
    expect(clock.timers).toBe(10)
  })
})

describe('bad news', () => {
  test.each([
    ['no such name', NXDOMAIN],
    ['no such record', NODATA],
  ])('%s is kept for negativeTtl and no longer', async (_, result) => {
    const { clock, script, look } = setUp()
    script.reply = () => result
    await look()
    await clock.advance(4999)
    expect((await look()).result).toEqual(result)
    expect(script.asked).toHaveLength(1)
    await clock.advance(1)
    await look()
    expect(script.asked).toHaveLength(2)
  })

  test.each([
    ['a failing resolver', SERVFAIL],
    ['a silent resolver', TIMEOUT],
  ])('%s is asked again the next time', async (_, result) => {
    const { script, look } = setUp()
    script.reply = () => result
    await look()
    await look()
    expect(script.asked).toHaveLength(2)
  })

  test('negativeTtl 0 keeps no bad news', async () => {
    const { script, cache, look } = setUp({ negativeTtlMs: 0 })
    script.reply = () => NXDOMAIN
    await look()
    expect(cache.size).toBe(0)
  })
})

describe('prefetch', () => {
  test('refreshes a name in use before its TTL ends, so that nobody waits', async () => {
    const { clock, script, look } = setUp({ prefetch: true })
    script.reply = () => answer(100, `192.0.2.${script.asked.length}`)
    await look()
    await clock.advance(90_000)
    expect(script.asked).toHaveLength(2)
    await clock.advance(15_000)
    expect(await look()).toMatchObject({ source: 'prefetched', ageMs: 15_000 })
    expect(script.asked).toHaveLength(2)
  })

  test('stops when nobody asks for the name any more', async () => {
    const { clock, script, look } = setUp({ prefetch: true })
    script.reply = () => answer(100, '192.0.2.1')
    await look()
    await clock.advance(10_000_000)
    expect(script.asked).toHaveLength(2)
  })

  test('that fails leaves the answer in place until its own TTL ends, and not longer', async () => {
    const { clock, script, look } = setUp({ prefetch: true })
    script.reply = () => answer(100, '192.0.2.1')
    await look()
    script.reply = () => SERVFAIL
    await clock.advance(99_999)
    expect(script.asked).toHaveLength(2)
    expect((await look()).source).toBe('hit')
    await clock.advance(1)
    expect((await look()).result).toEqual(SERVFAIL)
  })

  test('is off when it is off', async () => {
    const { clock, script, look } = setUp({ prefetch: false })
    script.reply = () => answer(100, '192.0.2.1')
    await look()
    await clock.advance(99_999)
    expect(script.asked).toHaveLength(1)
  })
})

describe('serve-stale', () => {
  test('is off by default: an expired answer is gone', async () => {
    const { clock, script, cache, look } = setUp()
    script.reply = () => answer(60, '192.0.2.1')
    await look()
    await clock.advance(60_000)
    expect(cache.stale('cgr.dev', 'A')).toBeUndefined()
  })

  test('hands out an expired answer within its bound, with its age, and not beyond', async () => {
    const { clock, script, cache, look } = setUp({ staleOnErrorMs: 30_000 })
    script.reply = () => answer(60, '192.0.2.1')
    await look()
    await clock.advance(89_999)
    expect(cache.stale('cgr.dev', 'A')).toMatchObject({ source: 'stale', ageMs: 89_999 })
    await clock.advance(1)
    expect(cache.stale('cgr.dev', 'A')).toBeUndefined()
  })
})
