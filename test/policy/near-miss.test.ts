import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseAuthority } from '../../src/policy/authority.ts'
import { decide } from '../../src/policy/decide.ts'
import { editDistance, hintPhrase, nearMiss, nearMissPort, type Hint } from '../../src/policy/near-miss.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { hostsElsewhere, presetRules } from '../../src/presets/preset.ts'
import { policyOf, rule } from './policies.ts'

/** Levenshtein distance as the textbook has it. */
function reference(a: string, b: string): number {
  const rows = Array.from({ length: a.length + 1 }, (_, i) =>
    Array.from({ length: b.length + 1 }, (_, j) => (i === 0 ? j : j === 0 ? i : 0)),
  )
  const at = (i: number, j: number): number => rows[i]?.[j] ?? Number.NaN
  for (let i = 1; i <= a.length; i += 1) {
    for (let j = 1; j <= b.length; j += 1) {
      const row = rows[i]
      if (!row) throw new Error('no row')
      row[j] = Math.min(
        at(i - 1, j) + 1,
        at(i, j - 1) + 1,
        at(i - 1, j - 1) + (a[i - 1] === b[j - 1] ? 0 : 1),
      )
    }
  }
  return at(a.length, b.length)
}

/** Every host and port would be let through. */
const ANY = (): boolean => true

describe('edit distance', () => {
  const word = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 12 })

  test('is what the textbook says, up to the limit', () => {
    fc.assert(
      fc.property(word, word, fc.integer({ min: 0, max: 6 }), (a, b, limit) => {
        const distance = reference(a, b)
        expect(editDistance(a, b, limit)).toBe(distance <= limit ? distance : undefined)
      }),
      { numRuns: 5000 },
    )
  })

  test('is what the textbook says for words that are near', () => {
    const edit = fc.tuple(fc.nat(12), fc.constantFrom('', 'a', 'z'), fc.nat(1))
    const near = fc.tuple(word, fc.array(edit, { maxLength: 3 })).map(([text, edits]) => {
      let changed = text
      for (const [at, insert, remove] of edits) {
        changed = changed.slice(0, at) + insert + changed.slice(at + remove)
      }
      return [text, changed] as const
    })
    fc.assert(
      fc.property(near, fc.integer({ min: 0, max: 4 }), ([a, b], limit) => {
        const distance = reference(a, b)
        expect(editDistance(a, b, limit)).toBe(distance <= limit ? distance : undefined)
      }),
      { numRuns: 3000 },
    )
  })

  test.each([
    ['', '', 0, 0],
    ['cgr.dev', 'cgr.dev', 0, 0],
    ['cgr.dev', 'cgr.dv', 1, 1],
    ['cgr.dev', 'cgr.dv', 0, undefined],
    ['cgr.dev', 'crg.dev', 2, 2],
    ['abc', '', 3, 3],
    ['abc', '', 2, undefined],
    ['a', 'b', -1, undefined],
  ])('%j to %j within %i: %s', (a, b, limit, expected) => {
    expect(editDistance(a, b, limit)).toBe(expected)
  })
})

describe('what a refused client probably meant', () => {
  const presets = readBundledPresets()
  const inUse = presets.filter(({ name }) => name === 'chainguard-2024-05-14')
  const policy = policyOf({
    allow: [...inUse.flatMap(presetRules), rule('*.example.com'), rule('ab.io')],
    elsewhere: hostsElsewhere(
      presets,
      inUse.map(({ name }) => name),
    ),
  })

  test.each([
    ['a missing letter', 'cgr.dv', { kind: 'typo', value: 'cgr.dev' }],
    ['a doubled letter', 'cgrr.dev', { kind: 'typo', value: 'cgr.dev' }],
    ['swapped letters', 'crg.dev', { kind: 'typo', value: 'cgr.dev' }],
    ['another top-level domain', 'cgr.de', { kind: 'typo', value: 'cgr.dev' }],
    ['a slip in a long name', 'console-api.enforce.dv', { kind: 'typo', value: 'console-api.enforce.dev' }],
    ['the nearer of two', 'isuer.enforce.dev', { kind: 'typo', value: 'issuer.enforce.dev' }],
    ['a slip below a wildcard', 'registry.exmaple.com', { kind: 'typo', value: 'registry.example.com' }],
    ['one edit from a short name', 'ac.io', { kind: 'typo', value: 'ab.io' }],
    ['two edits from a short name', 'xy.io', undefined],
    ['three edits', 'cgrxyz.dev', undefined],
    ['below an allowed host', 'static.cgr.dev', { kind: 'nearby', value: 'cgr.dev' }],
    ['far below an allowed host', 'a.b.c.cgr.dev', { kind: 'nearby', value: 'cgr.dev' }],
    ['beside an allowed host', 'sso.enforce.dev', { kind: 'nearby', value: 'enforce.dev' }],
    ['beside one, its apex not allowed', 'images.wolfi.dev', { kind: 'nearby', value: 'packages.wolfi.dev' }],
    ['above one', 'wolfi.dev', { kind: 'nearby', value: 'packages.wolfi.dev' }],
    ['in a newer preset', 'apk.cgr.dev', { kind: 'preset', value: 'chainguard-2026-10-08' }],
    [
      'in a newer preset, elsewhere',
      'chainguard.us.auth0.com',
      { kind: 'preset', value: 'chainguard-2026-10-08' },
    ],
    ['a stranger', 'evil.test', undefined],
    ['another customer of the same help desk', 'evil.zendesk.com', undefined],
    ['another bucket of the same storage', `${'0'.repeat(32)}.r2.cloudflarestorage.com`, undefined],
    ['the storage service itself', 'r2.cloudflarestorage.com', undefined],
    ['a single label', 'localhost', undefined],
  ] as const)('%s: %s', (_what, host, hint) => {
    expect(nearMiss(policy, host, 443, ANY)).toEqual(hint)
  })

  test('a host of a newer preset is hinted at on the port that it has there', () => {
    expect(nearMiss(policy, 'apk.cgr.dev', 80, ANY)).not.toMatchObject({ kind: 'preset' })
  })

  test('the oldest preset is named where several list the host: the smallest step', () => {
    const elsewhere = hostsElsewhere(presets.toReversed(), [])
    expect(nearMiss(policyOf({ allow: ['a.test'], elsewhere }), 'cgr.dev', 443, ANY)).toEqual({
      kind: 'preset',
      value: 'chainguard-2024-05-14',
    })
  })

  test('the wrong port is answered with the right one', () => {
    expect(nearMissPort('cgr.dev', [rule('cgr.dev:8443')], ANY)).toEqual({
      kind: 'port',
      value: 'cgr.dev:8443',
    })
    expect(nearMissPort('cgr.dev', [], ANY)).toBeUndefined()
  })

  const NOW = Date.parse('2026-11-23T00:00:00Z')
  test.each([
    ['a deny rule names it', { allow: ['cgr.dev'], deny: ['cgr.dev'] }, 'cgr.dv:443'],
    ['its rule has expired', { allow: [rule('cgr.dev', { expires: '2020-01-01' })] }, 'cgr.dv:443'],
    ['its port has expired', { allow: [rule('cgr.dev:8443', { expires: '2020-01-01' })] }, 'cgr.dev:443'],
    ['its port is denied', { allow: ['cgr.dev:8443'], deny: ['cgr.dev:8443'] }, 'cgr.dev:443'],
    ['a deny rule names the neighbour', { allow: ['a.cgr.dev'], deny: ['a.cgr.dev'] }, 'other.cgr.dev:443'],
  ])('no question "did you mean X?" where X is denied as well: %s', (_what, parts, target) => {
    const decision = decide(policyOf(parts), parseAuthority(target), NOW)
    expect(decision.kind).toBe('deny')
    expect(decision.kind === 'deny' && decision.denial.hint).toBeUndefined()
  })

  test('a typo hint names a host that is allowed, at most two edits away', () => {
    const hosts = ['cgr.dev', 'enforce.dev', 'packages.wolfi.dev', 'ab.io']
    const exact = policyOf({ allow: hosts })
    const slips = fc
      .tuple(fc.constantFrom(...hosts), fc.nat(18), fc.constantFrom('', 'x', 'e'), fc.nat(2))
      .map(([host, at, insert, remove]) => host.slice(0, at) + insert + host.slice(at + remove))
      .filter((host) => !hosts.includes(host))
    fc.assert(
      fc.property(slips, (host) => {
        const hint = nearMiss(exact, host, 443, ANY)
        const best = Math.min(...hosts.map((one) => reference(host, one)))
        const limit = (one: string): number => (one.length < 6 ? 1 : 2)
        const near = hosts.filter((one) => reference(host, one) <= limit(one))
        const nearest = near.filter((one) => reference(host, one) === best)
        expect(hint?.kind === 'typo').toBe(near.length > 0)
        expect(hint?.kind === 'typo' ? nearest : [hint?.value]).toContain(hint?.value)
      }),
      { numRuns: 1000 },
    )
  })
})

test.each<[Hint, string]>([
  [{ kind: 'typo', value: 'cgr.dev' }, 'did you mean cgr.dev?'],
  [{ kind: 'port', value: 'cgr.dev:443' }, 'did you mean cgr.dev:443?'],
  [{ kind: 'nearby', value: 'cgr.dev' }, 'allowed nearby: cgr.dev'],
  [{ kind: 'preset', value: 'chainguard-2026-10-08' }, 'it is in preset chainguard-2026-10-08'],
  [{ kind: 'advice', value: 'connect by host name' }, 'connect by host name'],
])('%j as words', (hint, words) => {
  expect(hintPhrase(hint)).toBe(words)
})
