import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compilePolicy, isExpired, ruleName, type Rule } from '../../src/policy/rules.ts'
import { policyOf, rule } from './policies.ts'

const ALLOW = [
  rule('cgr.dev', { owner: 'platform', reason: 'images' }),
  rule('*.example.com:8443'),
  rule('enforce.dev', { expires: '2027-01-31' }),
]
const DENY = [rule('bad.cgr.dev:*', { ruleset: 'policy.deny' }), rule('x.dev:80', { ruleset: 'policy.deny' })]
const base = policyOf({ allow: ALLOW, deny: DENY })

describe('the hash of a policy', () => {
  test('is a sha256 in hexadecimal', () => {
    expect(base.hash).toMatch(/^sha256:[0-9a-f]{64}$/)
  })

  test('does not depend on the order of the rules', () => {
    const shuffled = fc.tuple(
      fc.shuffledSubarray(ALLOW, { minLength: ALLOW.length }),
      fc.shuffledSubarray(DENY, { minLength: DENY.length }),
    )
    fc.assert(
      fc.property(shuffled, ([allow, deny]) => {
        expect(policyOf({ allow, deny }).hash).toBe(base.hash)
      }),
      { numRuns: 50 },
    )
  })

  const [first, ...others] = ALLOW
  if (!first) throw new Error('no rule')
  const replaced = (changed: Rule) => policyOf({ allow: [changed, ...others], deny: DENY })
  test.each([
    ['another host', replaced({ ...first, host: rule('cgr.dew').host })],
    ['its subdomains instead', replaced({ ...first, host: rule('*.cgr.dev').host })],
    ['another port', replaced({ ...first, port: 8443 })],
    ['another ruleset', replaced({ ...first, ruleset: '--allow' })],
    ['another owner', replaced({ ...first, owner: 'security' })],
    ['no owner', replaced(rule('cgr.dev', { reason: 'images' }))],
    ['another reason', replaced({ ...first, reason: 'packages' })],
    ['an end', replaced({ ...first, expires: '2027-01-31' })],
    ['owner and reason swapped', replaced({ ...first, owner: 'images', reason: 'platform' })],
    ['a rule less', policyOf({ allow: others, deny: DENY })],
    ['a rule more', policyOf({ allow: [...ALLOW, rule('new.dev')], deny: DENY })],
    ['a rule twice', policyOf({ allow: [...ALLOW, first], deny: DENY })],
    ['a deny rule less', policyOf({ allow: ALLOW, deny: DENY.slice(1) })],
    ['the deny rules allowed', policyOf({ allow: [...ALLOW, ...DENY], deny: [] })],
    ['mode report', policyOf({ allow: ALLOW, deny: DENY, mode: 'report' })],
  ])('changes with %s', (_what, changed) => {
    expect(changed.hash).not.toBe(base.hash)
  })

  test('does not change with hints, which decide nothing', () => {
    const elsewhere = [{ hostname: 'apk.cgr.dev', port: 443, preset: 'newer' }]
    expect(policyOf({ allow: ALLOW, deny: DENY, elsewhere }).hash).toBe(base.hash)
  })

  test('cannot be forged by text that looks like the next field', () => {
    const one = policyOf({ allow: [rule('cgr.dev', { owner: 'a","b' })] })
    const other = policyOf({ allow: [rule('cgr.dev', { owner: 'a', reason: 'b' })] })
    expect(one.hash).not.toBe(other.hash)
  })
})

test('a compiled policy is frozen', () => {
  expect(Object.isFrozen(base)).toBe(true)
})

test('rules are indexed by host and by apex; names of object properties are names like any other', () => {
  const policy = compilePolicy({
    mode: 'enforce',
    allow: [rule('cgr.dev'), rule('cgr.dev:8443'), rule('*.cgr.dev')],
    deny: [],
  })
  expect(policy.allowIndex.exact.get('cgr.dev')).toHaveLength(2)
  expect(policy.allowIndex.subdomains.get('cgr.dev')).toHaveLength(1)
  expect(policy.allowIndex.exact.get('constructor')).toBeUndefined()
  expect(policy.denyIndex.exact.size).toBe(0)
})

test.each([
  ['cgr.dev', 'cgr.dev:443'],
  ['*.example.com:8443', '*.example.com:8443'],
  ['bad.dev:*', 'bad.dev'],
])('the rule %s is named %s', (text, name) => {
  expect(ruleName(rule(text))).toBe(name)
})

describe('expiry: the last day is a whole day in UTC', () => {
  test.each([
    ['the day before', '2027-01-30T12:00:00Z', false],
    ['the first millisecond of the last day', '2027-01-31T00:00:00.000Z', false],
    ['its last millisecond', '2027-01-31T23:59:59.999Z', false],
    ['the first millisecond after', '2027-02-01T00:00:00.000Z', true],
    ['years later', '2031-01-01T00:00:00Z', true],
  ])('%s', (_what, now, expired) => {
    expect(isExpired(rule('cgr.dev', { expires: '2027-01-31' }), Date.parse(now))).toBe(expired)
  })

  test('a rule without an end never expires', () => {
    expect(isExpired(rule('cgr.dev'), Date.parse('9999-12-31T23:59:59Z'))).toBe(false)
  })

  test('a leap day is a day', () => {
    const leap = rule('cgr.dev', { expires: '2028-02-29' })
    expect(isExpired(leap, Date.parse('2028-02-29T23:59:59Z'))).toBe(false)
    expect(isExpired(leap, Date.parse('2028-03-01T00:00:00Z'))).toBe(true)
  })
})
