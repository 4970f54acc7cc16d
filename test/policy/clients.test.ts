import { describe, expect, test } from 'vitest'
import { parseBlock } from '../../src/policy/addresses.ts'
import { isUserName, matchClient, rulesForAddress, type ClientRule } from '../../src/policy/clients.ts'
import { policyOf } from './policies.ts'

const policy = policyOf({ allow: ['cgr.dev'] })

function from(...texts: readonly string[]): Pick<ClientRule, 'from'> {
  return { from: texts.flatMap((text) => parseBlock(text) ?? []) }
}

const RULES: readonly ClientRule[] = [
  { name: 'near', ...from('10.0.0.0/8', 'fd00::/8'), policy },
  { name: 'both', ...from('192.0.2.0/24'), users: ['ada'], certificates: ['node.test'], policy },
  { name: 'machine', certificates: ['node.test', 'spiffe://test/node'], policy },
  { name: 'ada', users: ['ada'], policy },
  { name: 'anybody', ...from('198.51.100.0/24'), users: 'any', policy },
]

test.each<[string, string, Parameters<typeof matchClient>[1], string]>([
  ['an address in a block', '10.1.2.3', {}, 'near'],
  ['an IPv6 address in a block', 'fd00::1', {}, 'near'],
  ['a v4-mapped address is its IPv4 self', '::ffff:10.1.2.3', {}, 'near'],
  [
    'a certificate, for whichever of its names',
    '8.8.8.8',
    { certificateNames: ['x', 'spiffe://test/node'] },
    'machine',
  ],
  [
    'a rule wants all of its conditions',
    '192.0.2.1',
    { user: 'ada', certificateNames: ['node.test'] },
    'both',
  ],
  ['one of two conditions is not enough', '192.0.2.1', { user: 'ada' }, 'ada'],
  ['names are compared exactly', '8.8.8.8', { user: 'ada', certificateNames: ['NODE.test'] }, 'ada'],
  ['a user', '8.8.8.8', { user: 'ada' }, 'ada'],
  ['any user, from there', '198.51.100.7', { user: 'eve' }, 'anybody'],
  ['another user fits nothing elsewhere', '8.8.8.8', { user: 'eve' }, 'other'],
  ['nobody yet: the first rule with users asks', '8.8.8.8', {}, 'challenge ada'],
  [
    'a certificate brings it to the rule that asks',
    '192.0.2.1',
    { certificateNames: ['node.test'] },
    'challenge both',
  ],
])('%s', (_what, address, facts, expected) => {
  const match = matchClient(rulesForAddress(RULES, address), facts)
  const said = match.kind === 'other' ? 'other' : match.rule.name
  expect(match.kind === 'challenge' ? `challenge ${said}` : said).toBe(expected)
})

describe('user names', () => {
  test.each(['ci', 'a', 'ada.l@example.com', 'build-bot_7', 'a'.repeat(64)])('%s', (name) => {
    expect(isUserName(name)).toBe(true)
  })
  test.each(['', ' ', '-x', 'x-', 'a:b', 'a b', 'ä', 'a\n', '__proto__ ', 'a'.repeat(65)])(
    'not %j',
    (name) => {
      expect(isUserName(name)).toBe(false)
    },
  )
})
