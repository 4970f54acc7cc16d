import { describe, expect, test } from 'vitest'
import { formatRemoval } from '../../src/firewall/own-table.ts'
import {
  formatElements,
  formatReplacement,
  formatTable,
  parseServer,
  stampOf,
  type Ruleset,
} from '../../src/firewall/ruleset.ts'
import { formatRedirection } from '../../src/firewall/redirect.ts'

const RULESET: Ruleset = {
  table: 'sallyport',
  users: [],
  interfaces: [],
  ingress: 'any',
  graceMs: 60_000,
  log: false,
  servers: ['10.0.0.53', '127.0.0.1:5353', '2001:db8::53', '[2001:db8::54]:5353'],
  policy: 'sha256:abc',
}

/** The rules of one chain. */
function chain(name: string, ruleset: Ruleset): string[] | undefined {
  return new RegExp(`^  chain ${name} \\{\\n(.*?)^  \\}`, 'ms')
    .exec(formatTable(ruleset))?.[1]
    ?.split('\n')
    .map((line) => line.trim())
    .filter(Boolean)
}

describe('the egress of what is filtered', () => {
  test('is what belongs to an open connection, DNS, and the sets; the rest is counted and dropped', () => {
    expect(chain('egress', RULESET)).toEqual([
      'ct state established,related accept',
      'ip daddr . udp dport { 10.0.0.53 . 53, 127.0.0.1 . 5353 } accept',
      'ip daddr . tcp dport { 10.0.0.53 . 53, 127.0.0.1 . 5353 } accept',
      'ip6 daddr . udp dport { 2001:db8::53 . 53, 2001:db8::54 . 5353 } accept',
      'ip6 daddr . tcp dport { 2001:db8::53 . 53, 2001:db8::54 . 5353 } accept',
      'ct state new ip daddr . tcp dport @allowed4 accept',
      'ct state new ip6 daddr . tcp dport @allowed6 accept',
      'counter name "dropped" drop',
    ])
  })

  test('is logged where that is asked for, a bounded number of times', () => {
    expect(chain('egress', { ...RULESET, log: true })?.at(-2)).toBe(
      'limit rate 10/second burst 20 packets log prefix "sallyport dropped: "',
    )
  })

  test('names no DNS server where there is none', () => {
    expect(chain('egress', { ...RULESET, servers: [] })?.join()).not.toContain('{')
  })
})

describe('whose traffic is filtered', () => {
  test('all that this machine sends, but what is for itself and what keeps its link', () => {
    const output = chain('output', RULESET)
    expect(output?.[0]).toBe('type filter hook output priority filter; policy accept;')
    expect(output?.at(-1)).toBe('jump egress')
    expect(output?.join('\n')).toMatch(/oifname "lo" accept[^]*nd-neighbor-solicit[^]*dport 67 accept/)
    expect(chain('forward', RULESET)).toBeUndefined()
    expect(chain('input', RULESET)).toBeUndefined()
  })

  test('that of some users, by name and by number', () => {
    const users = { ...RULESET, users: ['build', '1001'] }
    expect(chain('output', users)?.at(-1)).toBe('meta skuid { "build", 1001 } jump egress')
    expect(chain('output', users)?.join()).not.toContain('icmpv6')
  })

  test('what comes in by some interfaces', () => {
    const forward = { ...RULESET, interfaces: ['docker0', 'br-*'] }
    expect(chain('forward', forward)?.slice(1)).toEqual(['iifname { "docker0", "br-*" } jump egress'])
    expect(chain('output', forward)).toBeUndefined()
  })

  test('with ingress related also what comes from outside', () => {
    expect(chain('input', { ...RULESET, ingress: 'related' })?.at(-1)).toBe('counter name "dropped" drop')
    const forward = chain('forward', { ...RULESET, interfaces: ['docker0'], ingress: 'related' })
    expect(forward?.slice(2)).toEqual([
      'oifname { "docker0" } ct state established,related accept',
      'oifname { "docker0" } counter name "dropped" drop',
    ])
  })
})

test('an element is added, deleted and added with its lifetime; families have a set each', () => {
  const elements = [
    { address: '192.0.2.7', port: 443, timeoutMs: 65_000 },
    { address: '192.0.2.8', port: 8443, timeoutMs: 1500.2 },
    { address: '2001:db8::7', port: 443, timeoutMs: 0 },
  ]
  const lines = formatElements('sallyport', elements)
    .replaceAll(/\n +/g, ' ')
    .replaceAll('\n}', ' }')
    .split('\n')
  expect(lines).toEqual([
    'add element inet sallyport allowed4 { 192.0.2.7 . 443 timeout 65s, 192.0.2.8 . 8443 timeout 1s501ms }',
    'delete element inet sallyport allowed4 { 192.0.2.7 . 443, 192.0.2.8 . 8443 }',
    'add element inet sallyport allowed4 { 192.0.2.7 . 443 timeout 65s, 192.0.2.8 . 8443 timeout 1s501ms }',
    'add element inet sallyport allowed6 { 2001:db8::7 . 443 timeout 1ms }',
    'delete element inet sallyport allowed6 { 2001:db8::7 . 443 }',
    'add element inet sallyport allowed6 { 2001:db8::7 . 443 timeout 1ms }',
  ])
  expect(formatElements('sallyport', [])).toBe('')
})

test('loading again keeps the sets; a replacement takes the place of the whole table; removing cannot fail', () => {
  const again = formatTable(RULESET)
  expect(again).toContain('flush table inet sallyport')
  expect(again).not.toContain('delete table')
  expect(formatReplacement(RULESET)).toMatch(
    /add table inet sallyport\ndelete table inet sallyport\ntable inet/,
  )
  expect(formatRemoval('other')).toBe('add table inet other\ndelete table inet other')
})

test('the stamp changes with the policy and with every rule, and with nothing else', () => {
  const stamp = stampOf(RULESET)
  expect(stamp).toMatch(/^policy_[0-9a-f]{16}$/)
  expect(formatTable(RULESET)).toContain(`chain ${stamp} {`)
  expect(stampOf({ ...RULESET, graceMs: 1 })).toBe(stamp)
  for (const change of [{ policy: 'sha256:def' }, { log: true }, { users: ['1'] }, { servers: [] }]) {
    expect(stampOf({ ...RULESET, ...change })).not.toBe(stamp)
  }
})

test.each([
  ['10.0.0.53', '10.0.0.53 . 53'],
  ['10.0.0.53:5353', '10.0.0.53 . 5353'],
  ['::1', '::1 . 53'],
  ['[::1]', '::1 . 53'],
  ['[::1]:5353', '::1 . 5353'],
])('the DNS server %s is %s', (text, key) => {
  expect(parseServer(text).key).toBe(key)
})

test('a redirection leaves the exempt alone, and this machine itself', () => {
  const text = formatRedirection({
    table: 'r',
    port: 3129,
    users: ['build', '0'],
    interfaces: ['docker0'],
    exempt: ['0'],
  })
  const rules = text.split('\n').map((line) => line.trim())
  expect(rules.slice(0, 3)).toEqual(['add table inet r', 'delete table inet r', 'table inet r {'])
  expect(rules.indexOf('meta skuid { 0 } accept')).toBeLessThan(
    rules.indexOf('meta skuid { "build", 0 } tcp dport 443 redirect to :3129'),
  )
  expect(rules).toContain('oifname "lo" accept')
  expect(rules).toContain('meta skuid { "build", 0 } udp dport 443 reject')
  expect(rules).toContain('iifname { "docker0" } udp dport 443 reject')
  expect(rules).toContain('iifname { "docker0" } tcp dport 443 redirect to :3129')
})
