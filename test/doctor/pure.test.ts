/** The parts without sockets: which hosts, which proxy, whose portal, and how it is written down. */
import { readFileSync } from 'node:fs'
import { stripVTControlCharacters } from 'node:util'
import { describe, expect, test } from 'vitest'
import { policiesOf } from '../../src/config/load.ts'
import { portalSign } from '../../src/doctor/expectation.ts'
import { FINDINGS } from '../../src/doctor/findings.ts'
import { printable } from '../../src/doctor/printable.ts'
import type { DoctorReport, HostReport } from '../../src/doctor/report.ts'
import { selectTargets } from '../../src/doctor/targets.ts'
import { formatReport } from '../../src/doctor/text.ts'
import { judge } from '../../src/doctor/verdict.ts'
import { parseVia } from '../../src/doctor/via.ts'
import { parseSettings } from '../support/gate.ts'

describe('targets', () => {
  const policyOf = (policy: Readonly<Record<string, unknown>>) => [parseSettings({ policy }).policy]
  const chosen = (policy: Readonly<Record<string, unknown>>, named: readonly string[] = []) => {
    const result = selectTargets(policyOf(policy), named, Date.now())
    return result.ok
      ? {
          hosts: result.selection.courses.map(({ target, finding }) =>
            [`${target.host}:${target.port}`, ...(finding ? [finding.detail] : [])].join(' '),
          ),
          notProbed: result.selection.notProbed,
        }
      : result.problem
  }

  test('every exact rule once, on its port; what cannot be probed is said', () => {
    const allow = [
      { host: 'a.example.com', port: 8443 },
      { host: 'a.example.com', port: 8443 },
      { host: '*.wild.example.com' },
      { host: 'old.example.com', expires: '2020-01-01' },
    ]
    expect(chosen({ presets: [], allow })).toEqual({
      hosts: ['a.example.com:8443'],
      notProbed: [
        { rule: '*.wild.example.com:443', why: 'a wildcard; name a host below wild.example.com to probe it' },
        { rule: 'old.example.com:443', why: expect.stringMatching(/^rule_expired, /) },
      ],
    })
  })

  test('what only a client may reach is probed too, and is no documented host', () => {
    const config = parseSettings({
      policy: { presets: [], allow: [{ host: 'a.example.com' }], deny: [{ host: 'old.example.com' }] },
      clients: {
        rules: [
          {
            name: 'ci',
            from: ['10.1.0.0/16'],
            policy: { allow: [{ host: 'a.example.com' }, { host: 'b.example.com', port: 8443 }] },
          },
        ],
      },
    })
    const select = (named: readonly string[]) => {
      const result = selectTargets(policiesOf(config), named, Date.now())
      return result.ok
        ? result.selection.courses.map(({ target, finding }) => ({ ...target, code: finding?.code }))
        : result.problem
    }
    const [a, b] = [
      { host: 'a.example.com', port: 443, documented: false, code: undefined },
      { host: 'b.example.com', port: 8443, documented: false, code: undefined },
    ]
    expect(select([])).toEqual([a, b])
    expect(select(['b.example.com'])).toEqual([b])
    expect(select(['c.example.com'])).toMatchObject([{ host: 'c.example.com', code: 'not_allowed' }])
  })

  test('the default preset is nine documented hosts', () => {
    const result = selectTargets(policyOf({}), [], Date.now())
    const courses = result.ok ? result.selection.courses : []
    expect(courses).toHaveLength(9)
    expect(courses.every(({ target }) => target.documented)).toBe(true)
  })

  test('a named host takes the port of its rule, and one below a wildcard is probed', () => {
    const policy = {
      presets: [],
      allow: [{ host: 'a.example.com', port: 8443 }, { host: '*.w.example.com' }],
    }
    expect(chosen(policy, ['A.example.com', 'x.w.example.com'])).toMatchObject({
      hosts: ['a.example.com:8443', 'x.w.example.com:443'],
    })
  })

  test('a named host that the policy refuses is a finding, not a probe', () => {
    expect(chosen({}, ['cgr.dv'])).toMatchObject({
      hosts: ['cgr.dv:443 host_not_allowed, did you mean cgr.dev?'],
    })
  })

  test.each([
    ['https://cgr.dev', /"https:\/\/cgr\.dev" is not HOST or HOST:PORT/],
    ['cgr.dev:0', /is not HOST or HOST:PORT/],
    ['', /is not HOST or HOST:PORT/],
  ])('what is no host is a wrong call: %j', (text, problem) => {
    expect(chosen({}, [text])).toMatch(problem)
  })

  test('only wildcards: a wrong call that says what to write', () => {
    expect(chosen({ presets: [], allow: [{ host: '*.w.example.com' }] })).toMatch(
      /name one: sallyport doctor HOST/,
    )
  })
})

describe('--via', () => {
  test.each([
    ['http://proxy:3128', 'http://proxy:3128'],
    ['https://proxy.example.com', 'https://proxy.example.com:443'],
    ['http://[::1]:8080/', 'http://[::1]:8080'],
    ['http://u:p@10.0.0.1', 'http://10.0.0.1:80'],
  ])('%s', (text, shown) => {
    expect(parseVia(text)).toMatchObject({ ok: true, via: { shown } })
  })

  test.each([
    'proxy:3128',
    'socks5://proxy',
    'http://',
    'http://proxy/path',
    'http://pro xy',
    'http://u:%ff@p',
    '',
  ])('refused: %j', (text) => {
    expect(parseVia(text).ok).toBe(false)
  })
})

describe('whose answer it is', () => {
  const page = { status: 200, contentType: 'text/html; charset=utf-8' }
  const login = { status: 302, location: 'http://login.example/' }
  const away = { status: 302, location: 'https://login.example/' }
  const home = { status: 301, location: 'https://www.enforce.dev/' }
  test.each([
    ['a page of the host itself', page, 'host', true, false],
    ['a redirect of the host itself', login, 'host', true, false],
    ['a page from who is not the host', page, 'other', false, true],
    ['a page through an interceptor, at a web host', page, 'unsure', false, false],
    ['a page through an interceptor, at a registry', page, 'unsure', true, true],
    ['to plain HTTP, through an interceptor', login, 'unsure', false, true],
    ['elsewhere, through an interceptor, from a web host', away, 'unsure', false, false],
    ['elsewhere, through an interceptor, from a registry', away, 'unsure', true, true],
    ['within the site', home, 'other', false, false],
    ['a page instead of TLS', page, 'plain', false, true],
    ['a redirect instead of TLS', away, 'plain', false, true],
    ['an error page instead of TLS', { ...page, status: 400 }, 'plain', true, false],
    ['511 instead of TLS', { status: 511 }, 'plain', false, true],
    ['511 through an interceptor', { status: 511 }, 'unsure', false, true],
  ] as const)('%s', (_what, facts, peer, registry, portal) => {
    expect(portalSign(facts, { host: 'enforce.dev', registry, peer }) !== undefined).toBe(portal)
  })
})

test('printable: controls, line ends and marks of direction are escaped, Latin letters stay', () => {
  expect(printable('a\u001B[31m\r\n\u202Eé\\')).toBe('a\\u{1b}[31m\\u{d}\\u{a}\\u{202e}é\\\\')
  expect(printable('x'.repeat(500))).toHaveLength(161)
})

describe('the report as text', () => {
  const host = (name: string, detail: string | null): HostReport => ({
    host: name,
    port: 443,
    status: detail === null ? 'well' : 'finding',
    steps: [
      {
        name: 'dns',
        mark: detail === null ? 'ok' : 'fail',
        durationMs: 12,
        text: detail ?? '192.0.2.1, TTL 60 s',
      },
    ],
    finding: detail === null ? null : { code: 'dns_nxdomain', detail },
  })
  const report = (hosts: readonly HostReport[]): DoctorReport => ({
    schema: 1,
    startedAt: '2026-11-24T00:00:00.000Z',
    durationMs: 1234,
    timeLimitMs: 60_000,
    via: null,
    dns: { source: 'config', servers: ['10.0.0.53'] },
    policy: 'sha256:0',
    hosts,
    notProbed: [{ rule: '*.w.example.com:443', why: 'a wildcard' }],
    verdict: judge(hosts, null),
  })

  test('aligned, one line for each step, the verdict last', () => {
    expect(
      formatReport(report([host('cgr.dev', null), host('b.dev', '10.0.0.53 says no')]), { color: false }),
    ).toBe(`cgr.dev:443  well
  dns      ok       12 ms  192.0.2.1, TTL 60 s

b.dev:443  FAIL
  dns      FAIL     12 ms  10.0.0.53 says no

not probed  *.w.example.com:443: a wildcard

Verdict  1 of 2 hosts is reachable, 1 is not. (1.2 s, of at most 60 s)

  DNS team        Ask for the resolver to forward these names to the public DNS, or set \`dns.servers\` to one that does.
                  The resolver says that the name does not exist (dns_nxdomain).
      b.dev:443  10.0.0.53 says no
`)
  })

  test.each([40, 80, 120])(
    'at %i columns nothing is wider than the terminal, and nothing is lost',
    (width) => {
      const long = `9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com ${'word '.repeat(40)}end`
      const hosts = [
        host('9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com', long),
        host('b.dev', long),
      ]
      const text = stripVTControlCharacters(formatReport(report(hosts), { color: true, width }))
      // A host's name is never broken, so at 40 columns it is too long.
      const lines = text.split('\n').filter((line) => width > 40 || !line.includes('cloudflarestorage'))
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width)
      expect(text.match(/word/g)?.length).toBeGreaterThanOrEqual(80)
    },
  )
})

test('docs/operating.md has every finding, word for word', () => {
  const page = readFileSync(new URL('../../docs/operating.md', import.meta.url), 'utf8')
  const table = page.slice(page.indexOf('### What it finds'), page.indexOf('### `--json`'))
  const rows = [...table.matchAll(/^\| `([a-z_]+)` +\| (.*?) +\| .*? +\| (.*?) +\|$/gm)]
  expect(Object.fromEntries(rows.map(([, code, meaning, ask]) => [code, { meaning, ask }]))).toEqual(
    Object.fromEntries(Object.entries(FINDINGS).map(([code, { meaning, ask }]) => [code, { meaning, ask }])),
  )
})
