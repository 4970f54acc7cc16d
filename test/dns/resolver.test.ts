import { describe, expect, test } from 'vitest'
import { DnsCache } from '../../src/dns/cache.ts'
import { createResolver, type Resolution } from '../../src/dns/resolver.ts'
import { ManualClock, settle } from '../support/manual-clock.ts'
import { answer, NODATA, NXDOMAIN, ScriptedQuery, SERVFAIL, TIMEOUT } from '../support/scripted-query.ts'

function setUp(options: { staleOnErrorMs?: number; hosts?: Record<string, string[]> } = {}) {
  const { staleOnErrorMs = 0, hosts = {} } = options
  const clock = new ManualClock()
  const script = new ScriptedQuery()
  const cache = new DnsCache(script.query, clock, {
    prefetch: false,
    maxTtlMs: 3_600_000,
    negativeTtlMs: 5000,
    staleOnErrorMs,
  })
  const resolve = createResolver(cache, clock, { hosts, deadlineMs: 4000 })
  /** Starts a lookup and tells where it stands. */
  const start = () => {
    const state: { resolution?: Resolution } = {}
    void Promise.resolve(resolve('cgr.dev')).then((resolution) => {
      state.resolution = resolution
    })
    return state
  }
  const ask = (type: 'A' | 'AAAA') => script.asked.findLast((one) => one.type === type)
  return { clock, script, resolve, start, ask }
}

describe('both families', () => {
  test('are asked together and joined, with the smaller TTL as evidence', async () => {
    const { script, resolve } = setUp()
    script.reply = (_, type) => (type === 'A' ? answer(60, '192.0.2.1') : answer(30, '2001:db8::1'))
    expect(await resolve('cgr.dev')).toEqual({
      kind: 'resolved',
      evidence: { answers: ['2001:db8::1', '192.0.2.1'], ttlSeconds: 30, ageSeconds: 0, source: 'miss' },
    })
  })

  test('a host without IPv6 resolves by its IPv4 answer, and the missing AAAA is no miss', async () => {
    const { clock, script, resolve } = setUp()
    script.reply = (_, type) => (type === 'A' ? answer(60, '192.0.2.1') : NODATA)
    await resolve('cgr.dev')
    // Past negativeTtl the AAAA is asked again; the addresses still come from the cache.
    await clock.advance(6000)
    expect(await resolve('cgr.dev')).toMatchObject({ evidence: { source: 'hit', ageSeconds: 6 } })
  })

  test('a resolver that swallows AAAA costs 50 ms, not the deadline (RFC 8305 section 3)', async () => {
    const { clock, start, ask } = setUp()
    const state = start()
    await settle()
    ask('A')?.answer(answer(60, '192.0.2.1'))
    await settle()
    await clock.advance(49)
    expect(state.resolution).toBeUndefined()
    await clock.advance(1)
    expect(state.resolution).toMatchObject({ kind: 'resolved', evidence: { answers: ['192.0.2.1'] } })
  })

  test('an AAAA that arrives within those 50 ms is used', async () => {
    const { clock, start, ask } = setUp()
    const state = start()
    await settle()
    ask('A')?.answer(answer(60, '192.0.2.1'))
    await settle()
    await clock.advance(30)
    ask('AAAA')?.answer(answer(60, '2001:db8::1'))
    await settle()
    expect(state.resolution).toMatchObject({ evidence: { answers: ['2001:db8::1', '192.0.2.1'] } })
  })

  test('one family that fails does not stop the other', async () => {
    const { script, resolve } = setUp()
    script.reply = (_, type) => (type === 'A' ? answer(60, '192.0.2.1') : SERVFAIL)
    expect(await resolve('cgr.dev')).toMatchObject({ kind: 'resolved' })
  })
})

describe('failures', () => {
  test.each([
    ['no such name', NXDOMAIN, NXDOMAIN, { code: 'dns_nxdomain' }],
    [
      'a name without addresses',
      NODATA,
      NODATA,
      { code: 'dns_error', detail: 'it has neither an A nor an AAAA record' },
    ],
    [
      'a failing resolver',
      SERVFAIL,
      SERVFAIL,
      { code: 'dns_error', detail: 'the resolver answered SERVFAIL' },
    ],
    ['a silent resolver', TIMEOUT, TIMEOUT, { code: 'dns_timeout' }],
    ['no IPv6 and a silent resolver', TIMEOUT, NODATA, { code: 'dns_timeout' }],
    [
      'no IPv6 and a failing resolver',
      SERVFAIL,
      NODATA,
      { code: 'dns_error', detail: 'the resolver answered SERVFAIL' },
    ],
  ] as const)('%s', async (_, a, aaaa, failure) => {
    const { script, resolve } = setUp()
    script.reply = (_name, type) => (type === 'A' ? a : aaaa)
    expect(await resolve('cgr.dev')).toEqual({ kind: 'failed', ...failure })
  })

  test('a dead server does not stall a lookup beyond the deadline', async () => {
    const { clock, start } = setUp()
    const state = start()
    await clock.advance(3999)
    expect(state.resolution).toBeUndefined()
    await clock.advance(1)
    expect(state.resolution).toEqual({ kind: 'failed', code: 'dns_timeout' })
  })

  test('an answer after the deadline is there for the next tunnel', async () => {
    const { clock, script, start, ask, resolve } = setUp()
    start()
    await clock.advance(4000)
    ask('A')?.answer(answer(60, '192.0.2.1'))
    ask('AAAA')?.answer(NODATA)
    await settle()
    expect(await resolve('cgr.dev')).toMatchObject({ evidence: { source: 'hit' } })
    expect(script.asked).toHaveLength(2)
  })
})

describe('static hosts', () => {
  test('are never asked for', async () => {
    const { script, resolve } = setUp({ hosts: { 'cgr.dev': ['192.0.2.9'] } })
    expect(await resolve('cgr.dev')).toEqual({
      kind: 'resolved',
      evidence: { answers: ['192.0.2.9'], source: 'static' },
    })
    expect(script.asked).toHaveLength(0)
  })

  test('a host named like an object property is not one', async () => {
    const { script, resolve } = setUp()
    script.reply = () => NXDOMAIN
    expect(await resolve('constructor')).toMatchObject({ kind: 'failed' })
  })
})

describe('serve-stale', () => {
  const primed = async (staleOnErrorMs: number) => {
    const parts = setUp({ staleOnErrorMs })
    parts.script.reply = (_, type) => (type === 'A' ? answer(60, '192.0.2.1') : NODATA)
    await parts.resolve('cgr.dev')
    await parts.clock.advance(70_000)
    return parts
  }

  test('bridges a failing resolver and says so', async () => {
    const { script, resolve } = await primed(60_000)
    script.reply = () => SERVFAIL
    expect(await resolve('cgr.dev')).toMatchObject({
      evidence: { source: 'stale', ttlSeconds: 60, ageSeconds: 70 },
    })
  })

  test('bridges a silent resolver at the deadline', async () => {
    const { clock, script, start } = await primed(60_000)
    script.reply = undefined
    const state = start()
    await clock.advance(4000)
    expect(state.resolution).toMatchObject({ evidence: { source: 'stale' } })
  })

  test('ends with its bound', async () => {
    const { script, resolve } = await primed(10_000)
    script.reply = () => SERVFAIL
    expect(await resolve('cgr.dev')).toMatchObject({ kind: 'failed', code: 'dns_error' })
  })

  test('does not keep alive a name that its server says is gone', async () => {
    const { script, resolve } = await primed(60_000)
    script.reply = () => NXDOMAIN
    expect(await resolve('cgr.dev')).toMatchObject({ kind: 'failed', code: 'dns_nxdomain' })
  })

  test('stays out of the way when it is off', async () => {
    const { script, resolve } = await primed(0)
    script.reply = () => SERVFAIL
    expect(await resolve('cgr.dev')).toMatchObject({ kind: 'failed' })
  })
})
