/** The policy patch: what is offered, what never is, and that it is a configuration. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadConfig, type Config } from '../../src/config/load.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { compileExpected } from '../../src/review/expected.ts'
import { toReview } from '../../src/review/report.ts'
import { formatSuggestions, suggest, type SuggestContext } from '../../src/review/suggest.ts'
import { deniedLine, type DenialSketch } from '../support/audit-records.ts'
import { aggregated } from '../support/review.ts'

const NOW = Date.parse('2026-11-24T00:00:00Z')

function load(text: string) {
  return loadConfig({ text, name: 'test.yaml', presets: readBundledPresets(), nowMs: NOW })
}

function contextOf({ policy, clients, presets }: Config): SuggestContext {
  return { policy, rules: clients.rules, presets, nowMs: NOW }
}

function draft(
  config: string,
  denials: readonly (DenialSketch & { readonly times?: number })[],
  expected: Parameters<typeof compileExpected>[0] = [],
) {
  const loaded = load(config)
  if (!loaded.ok) throw new Error(JSON.stringify(loaded.issues))
  const lines = denials.flatMap(({ times = 2, ...sketch }) =>
    Array.from({ length: times }, () => deniedLine(sketch)),
  )
  const review = toReview(aggregated([lines.join('')]), {
    expected: compileExpected(expected, NOW),
    memory: undefined,
  })
  const context = contextOf(loaded.config)
  return formatSuggestions(suggest(review.groups, context), context)
}

const DEFAULT = readFileSync(new URL('../../config/sallyport.yaml', import.meta.url), 'utf8')

describe('what is offered', () => {
  const text = draft(DEFAULT, [
    { host: 'cgr.dv', client: '10.0.0.1' },
    { host: 'cgr.dv', client: '10.0.0.2' },
    { host: 'cgr.dev', port: 8443, reason: 'port_not_allowed' },
    { host: 'apk.cgr.dev' },
    { host: 'registry.example.com', times: 7 },
  ])

  test('near misses as corrections of the client', () => {
    expect(text).toContain(
      '#   cgr.dv:443 should be cgr.dev:443: 4 denials from 2 clients (such as 10.0.0.1)',
    )
    expect(text).toContain('#   cgr.dev:8443 should be cgr.dev:443')
  })

  test('hosts of a newer preset as that preset', () => {
    expect(text).toContain('  presets: [chainguard-2024-05-14, chainguard-2026-10-08]')
    expect(text).toContain('#   apk.cgr.dev:443: 2 denials')
  })

  test('others as entries in a comment, with the evidence', () => {
    expect(text).toContain(
      '  #   - host: registry.example.com # 7 denials from 1 client (10.0.0.1), 2026-11-23 12:00 to 2026-11-23 12:00\n  #     port: 443\n',
    )
    expect(text).not.toMatch(/^ *- host/m)
  })

  test('it is valid as it stands, asks for what is missing, and is valid when that is filled in', () => {
    expect(load(text)).toMatchObject({ ok: true })
    const open = text.replace(/^ {2}# (?=allow:| {2}- host:| {4}\w+:)/gm, '  ')
    const asked = load(open)
    expect(asked.ok ? [] : asked.issues.map(({ path }) => path)).toEqual([
      'policy.allow[0].owner',
      'policy.allow[0].reason',
      'policy.allow[0].expires',
    ])
    const filled = open
      .replace(/owner: #.*/, 'owner: platform')
      .replace(/reason: #.*/, 'reason: base images')
      .replace(/expires: #.*/, 'expires: 2027-06-30')
    const done = load(filled)
    expect(done.ok && done.config.policy.allowIndex.exact.get('registry.example.com')).toMatchObject([
      { owner: 'platform', expires: '2027-06-30' },
    ])
  })

  test('rules that are there stay, in their spelling; one that expired is named', () => {
    const config = `
policy:
  presets: []
  allow:
    - { host: kept.example.com, owner: 'a: b # c', reason: "x\\ny" }
    - { host: old.example.com, owner: platform, reason: was needed, expires: 2026-01-31 }
    - { host: '*.sub.example.com', port: 8443 }
`
    const patch = draft(config, [
      { host: 'old.example.com', reason: 'rule_expired' },
      { host: 'other.example.net' },
    ])
    const again = load(patch)
    expect(again.ok ? [] : again.issues).toEqual([])
    const before = load(config)
    expect(again.ok && before.ok && again.config.policy.hash === before.config.policy.hash).toBe(true)
    expect(patch).toContain('# old.example.com:443 expired on 2026-01-31, ask platform: 2 denials')
    expect(patch.match(/allow:/g)).toHaveLength(1)
  })
})

describe('clients with a policy of their own', () => {
  const config = `
policy:
  presets: [chainguard-2024-05-14]
clients:
  rules:
    - { name: ci, from: [127.0.0.1/32], policy: { presets: [], allow: [{ host: only.example.com }] } }
    - { name: office, from: [127.0.0.2/32] }
`

  test('are looked at under that policy, and the common one is not widened for them', () => {
    const text = draft(config, [
      { host: 'cgr.dev', rule: 'ci', times: 3 },
      { host: 'onyl.example.com', rule: 'ci' },
      { host: 'apk.cgr.dev', rule: 'ci' },
      { host: 'new.example.net', rule: 'ci', times: 5 },
      { host: 'new.example.net', rule: 'office' },
      { host: 'new.example.net', times: 4 },
      { host: 'gone.example.net', rule: 'no-longer-there' },
    ])
    expect(text).not.toContain('allowed by now')
    expect(text).toContain('  presets: [chainguard-2024-05-14]\n')
    const [common = '', ci = ''] = text.split('# For the `policy` of `ci` in `clients.rules`')
    expect(common).toContain('#   - host: new.example.net # 6 of 11 denials')
    expect(common.match(/- host:/g)).toHaveLength(1)
    expect(ci).toContain('\n#   onyl.example.com:443 should be only.example.com:443: 2 denials')
    expect(ci).toContain('#   - host: new.example.net # 5 of 11 denials')
    expect(ci).toMatch(/# chainguard-\S+ names these; .*\n# {3}cgr\.dev:443: 3 denials/)
    expect(ci).toContain('1 group denied by a policy of `clients.rules` that the configuration does not have')
    expect(load(text)).toMatchObject({ ok: true })
  })
})

describe('what never is', () => {
  test.each<[string, DenialSketch & { times?: number }, string]>([
    ['a single attempt', { host: 'once.example.com', times: 1 }, 'tried only once'],
    ['an address', { host: '203.0.113.9', reason: 'ip_literal' }, 'no allow rule changes'],
    ['an address under another reason', { host: '203.0.113.9' }, 'no host that a rule can name'],
    ['a wildcard', { host: '*.example.com' }, 'no host that a rule can name'],
    ['a single label', { host: 'localhost' }, 'no host that a rule can name'],
    ['what is allowed by now', { host: 'cgr.dev' }, 'allowed by now'],
    ['a fronting attempt', { host: 'cgr.dev', reason: 'sni_mismatch' }, 'no allow rule changes'],
    ['text with a line end in it', { host: 'a.example\npolicy: {}' }, 'no host that a rule can name'],
  ])('%s', (_name, sketch, why) => {
    const text = draft(DEFAULT, [sketch])
    expect(text).toContain(`#   1 group `)
    expect(text).toContain(why)
    expect(text).not.toContain('- host')
    expect(load(text)).toMatchObject({ ok: true })
  })

  test('what a deny rule names, and what is expected to be denied', () => {
    const config = 'policy: { deny: [{ host: bad.example.com }] }\n'
    expect(draft(config, [{ host: 'bad.example.com' }])).toContain('denied by a deny rule')
    const expected = [{ host: 'ads.example.com', owner: 'x' }]
    expect(draft(config, [{ host: 'ads.example.com' }], expected)).toContain('expected to be denied')
  })

  test('a client of a forged log cannot end a comment', () => {
    const line = deniedLine({ host: 'x.example.com' }).replace(
      '10.0.0.1',
      '10.0.0.1\\npolicy: {mode: report}',
    )
    const loaded = load(DEFAULT)
    if (!loaded.ok) throw new Error('default')
    const review = toReview(aggregated([line + line]), {
      expected: compileExpected([], NOW),
      memory: undefined,
    })
    const context = contextOf(loaded.config)
    expect(formatSuggestions(suggest(review.groups, context), context)).not.toContain('\npolicy: {')
  })
})
