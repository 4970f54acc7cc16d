import { describe, expect, test } from 'vitest'
import { parseAuthority } from '../../src/policy/authority.ts'
import { decide, type Decision, type Step } from '../../src/policy/decide.ts'
import { compilePolicy, ruleName, type Policy } from '../../src/policy/rules.ts'
import { policyOf, rule } from './policies.ts'

const NOW = Date.parse('2026-11-23T12:00:00Z')

function ask(policy: Policy, target: string): Decision {
  return decide(policy, parseAuthority(target), NOW)
}

/** `allowed by <rule>`, or `<code> <rule> <hint>`, whichever of them there are. */
function verdict(policy: Policy, target: string): string {
  const decision = ask(policy, target)
  if (decision.kind === 'allow') return `allowed by ${ruleName(decision.rule)}`
  if (decision.kind === 'prove') return 'to be proven'
  const { code, rule, hint } = decision.denial
  return [code, rule && ruleName(rule), hint?.value].filter((part) => part !== undefined).join(' ')
}

describe('exact rules', () => {
  const policy = policyOf({ allow: ['cgr.dev', 'registry.npmjs.org', 'a.test:8443', 'a.test:9443'] })
  test.each([
    ['the host', 'cgr.dev:443', 'allowed by cgr.dev:443'],
    ['in upper case', 'CGR.DEV:443', 'allowed by cgr.dev:443'],
    ['a suffix without a label boundary', 'evil-cgr.dev:443', 'host_not_allowed'],
    ['another suffix without one', 'evilcgr.dev:443', 'host_not_allowed'],
    ['a subdomain', 'x.cgr.dev:443', 'host_not_allowed cgr.dev'],
    ['the parent', 'dev:443', 'host_not_allowed'],
    ['as a subdomain of a stranger', 'cgr.dev.evil.test:443', 'host_not_allowed'],
    [
      'a name that an unescaped dot would match',
      'registryxnpmjs.org:443',
      'host_not_allowed registry.npmjs.org',
    ],
    ['a homograph in punycode', 'xn--gr-nmc.dev:443', 'host_not_allowed'],
    ['a property of every object', 'constructor:443', 'host_not_allowed'],
    ['metadata by name', 'metadata.google.internal:80', 'host_not_allowed'],
    ['an address by wildcard DNS', '127.0.0.1.nip.io:443', 'host_not_allowed'],
    ['this machine', 'localhost:443', 'host_not_allowed'],
    ['a hexadecimal address', '0x7f000001:443', 'malformed_authority'],
    ['port 80', 'cgr.dev:80', 'port_not_allowed cgr.dev:443'],
    ['port 22', 'cgr.dev:22', 'port_not_allowed cgr.dev:443'],
    ['port 8443', 'cgr.dev:8443', 'port_not_allowed cgr.dev:443'],
    ['one of its two ports', 'a.test:9443', 'allowed by a.test:9443'],
    ['neither of its two ports', 'a.test:443', 'port_not_allowed a.test:8443'],
    ['a wrong name on a wrong port', 'cgr.dv:80', 'host_not_allowed cgr.dev:443'],
  ])('%s: %s', (_what, target, expected) => {
    expect(verdict(policy, target)).toBe(expected)
  })
})

describe('wildcards', () => {
  const policy = policyOf({ allow: ['*.cgr.dev', '*.deep.cgr.dev:8443', 'apk.cgr.dev:9443'] })
  test.each([
    ['a subdomain', 'x.cgr.dev:443', 'allowed by *.cgr.dev:443'],
    ['a deeper one', 'a.b.cgr.dev:443', 'allowed by *.cgr.dev:443'],
    ['never the apex', 'cgr.dev:443', 'host_not_allowed apk.cgr.dev'],
    ['a suffix without a label boundary', 'evil-cgr.dev:443', 'host_not_allowed'],
    ['a stranger above', 'cgr.dev.evil.test:443', 'host_not_allowed'],
    ['another port', 'x.cgr.dev:80', 'port_not_allowed x.cgr.dev:443'],
    ['a host with its own rule, on the port of the wildcard', 'apk.cgr.dev:443', 'allowed by *.cgr.dev:443'],
    ['the same on its own port', 'apk.cgr.dev:9443', 'allowed by apk.cgr.dev:9443'],
    ['neither port', 'apk.cgr.dev:80', 'port_not_allowed apk.cgr.dev:9443'],
    ['below two wildcards', 'x.deep.cgr.dev:8443', 'allowed by *.deep.cgr.dev:8443'],
    ['below two, the port of the wider one', 'x.deep.cgr.dev:443', 'allowed by *.cgr.dev:443'],
  ])('%s: %s', (_what, target, expected) => {
    expect(verdict(policy, target)).toBe(expected)
  })

  test('the most specific rule is named, whatever the order in the file', () => {
    const rules = ['*.test', '*.b.test', '*.a.b.test', 'x.a.b.test']
    for (const allow of [rules, rules.toReversed()]) {
      expect(verdict(policyOf({ allow }), 'x.a.b.test:443')).toBe('allowed by x.a.b.test:443')
      expect(verdict(policyOf({ allow }), 'y.a.b.test:443')).toBe('allowed by *.a.b.test:443')
      expect(verdict(policyOf({ allow }), 'y.b.test:443')).toBe('allowed by *.b.test:443')
      expect(verdict(policyOf({ allow: ['z.test'], deny: allow }), 'y.a.b.test:443')).toBe(
        'rule_denied *.a.b.test:443',
      )
    }
  })
})

describe('deny beats allow', () => {
  test.each([
    ['the same rule', ['cgr.dev'], ['cgr.dev'], 'cgr.dev:443', 'rule_denied cgr.dev:443'],
    ['every port', ['cgr.dev'], ['cgr.dev:*'], 'cgr.dev:443', 'rule_denied cgr.dev'],
    ['every port, one that nothing allows', ['cgr.dev'], ['cgr.dev:*'], 'cgr.dev:80', 'rule_denied cgr.dev'],
    ['another port', ['cgr.dev'], ['cgr.dev:80'], 'cgr.dev:443', 'allowed by cgr.dev:443'],
    [
      'a wildcard over an exact rule',
      ['a.cgr.dev'],
      ['*.cgr.dev'],
      'a.cgr.dev:443',
      'rule_denied *.cgr.dev:443',
    ],
    ['a wildcard and its apex', ['cgr.dev'], ['*.cgr.dev'], 'cgr.dev:443', 'allowed by cgr.dev:443'],
    [
      'one host out of a wildcard',
      ['*.cgr.dev'],
      ['a.cgr.dev'],
      'a.cgr.dev:443',
      'rule_denied a.cgr.dev:443',
    ],
    ['its neighbour', ['*.cgr.dev'], ['a.cgr.dev'], 'b.cgr.dev:443', 'allowed by *.cgr.dev:443'],
    ['a host that nothing allows', ['cgr.dev'], ['evil.test:*'], 'evil.test:443', 'rule_denied evil.test'],
  ])('%s', (_what, allow, deny, target, expected) => {
    expect(verdict(policyOf({ allow, deny }), target)).toBe(expected)
  })
})

describe('expiry', () => {
  const old = { expires: '2026-11-22', owner: 'platform' }
  test('an expired rule denies with its own code and names the rule, so that its owner can be asked', () => {
    const policy = policyOf({ allow: [rule('cgr.dev', old)] })
    const decision = ask(policy, 'cgr.dev:443')
    expect(decision).toMatchObject({
      kind: 'deny',
      denial: { code: 'rule_expired', rule: { owner: 'platform', expires: '2026-11-22' } },
    })
  })

  test.each([
    ['on its last day', [rule('cgr.dev', { expires: '2026-11-23' })], 'allowed by cgr.dev:443'],
    ['expired, and another in force', [rule('cgr.dev', old), rule('cgr.dev')], 'allowed by cgr.dev:443'],
    ['expired, below a wildcard in force', [rule('a.test', old), rule('*.cgr.dev')], 'host_not_allowed'],
    [
      'expired on this port, in force on another',
      [rule('cgr.dev', old), rule('cgr.dev:80')],
      'rule_expired cgr.dev:443',
    ],
  ])('%s', (_what, allow, expected) => {
    expect(verdict(policyOf({ allow }), 'cgr.dev:443')).toBe(expected)
  })

  test('a wildcard in force covers a host whose own rule has expired', () => {
    const policy = policyOf({ allow: [rule('a.cgr.dev', old), rule('*.cgr.dev')] })
    expect(verdict(policy, 'a.cgr.dev:443')).toBe('allowed by *.cgr.dev:443')
  })

  test('an expired deny rule no longer denies', () => {
    const policy = policyOf({ allow: ['cgr.dev'], deny: [rule('cgr.dev', { expires: '2026-11-22' })] })
    expect(verdict(policy, 'cgr.dev:443')).toBe('allowed by cgr.dev:443')
  })
})

describe('what is no name', () => {
  const policy = policyOf({ allow: ['cgr.dev', '*.test'] })
  test.each([
    '140.82.114.4:443',
    '127.0.0.1:443',
    '169.254.169.254:80',
    '[::1]:443',
    '[::ffff:10.0.0.1]:443',
  ])('an address literal is refused, public or not: %s', (target) => {
    expect(ask(policy, target)).toMatchObject({
      kind: 'deny',
      target: { kind: 'ip' },
      denial: { code: 'ip_literal', hint: { kind: 'advice', value: expect.stringContaining('host name') } },
    })
  })

  test('a malformed target carries what is wrong with it, and no target', () => {
    const decision = ask(policy, 'cgr.dev.:443')
    expect(decision).toEqual({
      kind: 'deny',
      denial: { code: 'malformed_authority', malformation: 'trailing_dot' },
    })
  })

  test('an address cannot be allowed by a deny-only loophole: no rule names it, and none can', () => {
    expect(ask(policyOf({ allow: ['*.1.test'] }), '10.0.0.1:443')).toMatchObject({
      denial: { code: 'ip_literal' },
    })
  })
})

describe('ipLiterals: verify-sni', () => {
  const policy: Policy = { ...policyOf({ allow: ['cgr.dev'] }), ipLiterals: 'verify-sni' }

  test.each(['enforce', 'report'] as const)('an address is left to the ClientHello, mode %s', (mode) => {
    expect(ask({ ...policy, mode }, '8.8.8.8:443')).toEqual({
      kind: 'prove',
      target: { kind: 'ip', host: '8.8.8.8', port: 443 },
    })
  })

  test('names are decided as ever', () => {
    expect(verdict(policy, 'cgr.dev:443')).toBe('allowed by cgr.dev:443')
    expect(verdict(policy, 'evil.test:443')).toBe('host_not_allowed')
  })

  test('is part of what the policy hash says', () => {
    const source = { mode: 'enforce', allow: policy.allow, deny: [] } as const
    const hashes = [
      source,
      { ...source, ipLiterals: 'verify-sni' as const },
      { ...source, sni: 'off' as const },
    ]
    expect(new Set(hashes.map((one) => compilePolicy(one).hash)).size).toBe(3)
  })
})

describe('mode report', () => {
  const policy = policyOf({
    mode: 'report',
    allow: ['cgr.dev', rule('old.test', { expires: '2020-01-01', owner: 'platform' })],
    deny: ['bad.test'],
  })
  test.each([
    ['a host without a rule', 'evil.test:443', 'host_not_allowed'],
    ['a wrong port', 'cgr.dev:80', 'port_not_allowed'],
    ['a denied host', 'bad.test:443', 'rule_denied'],
    ['an expired rule', 'old.test:443', 'rule_expired'],
    ['an address', '8.8.8.8:443', 'ip_literal'],
  ])('%s is let through, with what enforce would say', (_what, target, code) => {
    const decision = ask(policy, target)
    expect(decision).toMatchObject({ kind: 'report', denial: { code } })
    // The same words as enforce, hint and rule included.
    const enforced = ask({ ...policy, mode: 'enforce' }, target)
    expect(decision.kind === 'report' && decision.denial).toEqual(enforced.kind === 'deny' && enforced.denial)
  })

  test('what is allowed is allowed, not reported', () => {
    expect(ask(policy, 'cgr.dev:443').kind).toBe('allow')
  })

  test('what cannot be read is denied in any mode', () => {
    expect(ask(policy, 'cgr.dev.:443')).toMatchObject({
      kind: 'deny',
      denial: { code: 'malformed_authority' },
    })
  })
})

describe('the steps of a decision', () => {
  function steps(policy: Policy, target: string): readonly Step[] {
    const taken: Step[] = []
    decide(policy, parseAuthority(target), NOW, (step) => taken.push(step))
    return taken
  }

  test('an allowed target passes them all, and the last names the rule with its owner', () => {
    const policy = policyOf({ allow: [rule('cgr.dev', { owner: 'platform', ruleset: 'policy.allow' })] })
    const taken = steps(policy, 'cgr.dev:443')
    expect(taken.every(({ passed }) => passed)).toBe(true)
    expect(taken.at(-1)?.answer).toContain('cgr.dev:443 (policy.allow, owner platform)')
  })

  test.each([
    ['cgr.dev.:443', 1, 'trailing_dot'],
    ['10.0.0.1:443', 2, 'an IP address'],
    ['bad.test:443', 3, 'bad.test'],
    ['evil.test:443', 4, 'none does'],
    ['cgr.dev:80', 5, 'not 80'],
    ['old.test:443', 6, 'until 2020-01-01'],
  ])('%s stops at step %i', (target, count, answer) => {
    const policy = policyOf({
      allow: ['cgr.dev', rule('old.test', { expires: '2020-01-01' })],
      deny: ['bad.test:*'],
    })
    const taken = steps(policy, target)
    expect(taken).toHaveLength(count)
    expect(taken.map(({ passed }) => passed)).toEqual([
      ...Array.from({ length: count - 1 }, () => true),
      false,
    ])
    expect(taken.at(-1)?.answer).toContain(answer)
  })

  test('in mode report one more step says that it goes through', () => {
    const taken = steps(policyOf({ mode: 'report', allow: ['cgr.dev'] }), 'evil.test:443')
    expect(taken.at(-2)).toMatchObject({ passed: false })
    expect(taken.at(-1)).toMatchObject({ passed: true, answer: expect.stringContaining('report') })
  })
})
