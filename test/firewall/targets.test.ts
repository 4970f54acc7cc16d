import { expect, test } from 'vitest'
import { policiesOf } from '../../src/config/load.ts'
import { elementsOf, lookUp } from '../../src/firewall/look-up.ts'
import { firewallTargets } from '../../src/firewall/targets.ts'
import type { QueryResult } from '../../src/dns/query.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { parseSettings } from '../support/gate.ts'

test('every host that some policy allows now, with its ports; wildcards apart', () => {
  const config = parseSettings({
    policy: {
      presets: [],
      allow: [
        { host: 'cgr.dev' },
        { host: 'cgr.dev', port: 8443 },
        { host: '*.example.com' },
        { host: 'old.test', expires: '2020-01-01' },
        { host: 'both.test' },
        { host: 'both.test', port: 444 },
      ],
      deny: [{ host: 'both.test', port: 444, expires: '2099-01-01' }],
    },
    clients: { rules: [{ name: 'ci', from: ['10.0.0.0/8'], policy: { allow: [{ host: 'ci.test' }] } }] },
  })
  const { hosts, wildcards } = firewallTargets(policiesOf(config), Date.now())
  expect(Object.fromEntries(hosts)).toEqual({
    'cgr.dev': [443, 8443],
    'both.test': [443],
    'ci.test': [443],
  })
  expect(wildcards).toEqual(['*.example.com:443'])
})

const answer = (address: string, ttlSeconds: number): QueryResult => ({
  kind: 'answer',
  addresses: [address],
  ttlSeconds,
})
const failed: QueryResult = { kind: 'failed', code: 'ESERVFAIL' }
const silent: QueryResult = { kind: 'timeout', code: 'ETIMEOUT' }
const nodata: QueryResult = { kind: 'nodata', code: 'ENODATA' }

function ask(a: QueryResult, aaaa: QueryResult) {
  return lookUp('cgr.dev', [443], {
    query: async (_name, type) => (type === 'A' ? a : aaaa),
    guard: (addresses) =>
      addresses.includes('10.0.0.1')
        ? refusal('address_prohibited', { detail: '10.0.0.1 is private use' })
        : undefined,
    staticHosts: { 'static.test': ['192.0.2.9'] },
    maxTtlMs: 3_600_000,
  })
}

test('both families, for as long as the shorter answer holds', async () => {
  const found = await ask(answer('192.0.2.1', 60), answer('2001:db8::1', 5))
  expect(found).toEqual({ kind: 'addresses', addresses: ['192.0.2.1', '2001:db8::1'], lifeMs: 5000 })
  if (found.kind !== 'addresses') return
  expect(elementsOf(found, [443, 8443], 1000)).toHaveLength(4)
  expect(elementsOf(found, [443], 1000)[0]).toEqual({ address: '192.0.2.1', port: 443, timeoutMs: 6000 })
})

test('one family is enough, and a long TTL is cut', async () => {
  const found = await ask(answer('192.0.2.1', 1e6), nodata)
  expect(found).toEqual({ kind: 'addresses', addresses: ['192.0.2.1'], lifeMs: 3_600_000 })
})

test.each([
  [answer('192.0.2.1', 60), failed, /^AAAA: .*ESERVFAIL/],
  [silent, answer('2001:db8::1', 60), /^A: .*in time/],
])('a family that could not be had is said to be lacking', async (a, aaaa, lacking) => {
  expect(await ask(a, aaaa)).toMatchObject({ kind: 'addresses', lacking: expect.stringMatching(lacking) })
})

test.each([
  [
    'a prohibited one among them refuses all',
    answer('10.0.0.1', 60),
    answer('2001:db8::1', 60),
    /private use/,
  ],
  ['no such name', { kind: 'nxdomain', code: 'ENOTFOUND' }, nodata, /does not exist/],
  ['a resolver that fails', failed, nodata, /ESERVFAIL/],
  ['a resolver that is silent', silent, nodata, /in time/],
  ['no address', nodata, nodata, /neither/],
] satisfies readonly [string, QueryResult, QueryResult, RegExp][])('%s', async (_what, a, aaaa, why) => {
  expect(await ask(a, aaaa)).toEqual({ kind: 'none', why: expect.stringMatching(why) })
})
