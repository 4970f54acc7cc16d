import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { parseDocument } from 'yaml'
import { readConfig } from '../../src/cli/read-config.ts'
import { formatExcerpt, formatIssue, type ConfigIssue } from '../../src/config/issue.ts'
import { knownKeysAt } from '../../src/config/known-keys.ts'
import { loadConfig, type Config, type ConfigOverrides, type ConfigResult } from '../../src/config/load.ts'
import { configSchema } from '../../src/config/schema.ts'
import { ruleName, type Rule } from '../../src/policy/rules.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'

const FIXTURES = new URL('../fixtures/config/', import.meta.url)
const DEFAULT_FILE = new URL('../../config/sallyport.yaml', import.meta.url)
const NOW = Date.parse('2026-11-23T12:00:00Z')
const presets = readBundledPresets()

function load(text: string, overrides: ConfigOverrides = {}): ConfigResult {
  return loadConfig({ text, name: 'test.yaml', presets, overrides, nowMs: NOW })
}

function fixture(name: string): string {
  return readFileSync(new URL(name, FIXTURES), 'utf8')
}

function issuesOf(text: string, overrides?: ConfigOverrides): readonly ConfigIssue[] {
  const result = load(text, overrides)
  if (result.ok) throw new Error('it is valid')
  return result.issues
}

function configOf(text: string, overrides?: ConfigOverrides): Config {
  const result = load(text, overrides)
  if (!result.ok) throw new Error(result.issues.map(formatIssue).join('\n'))
  return result.config
}

/** Line, column, path, and a part of the message. `undefined`: wherever. */
type Expected = readonly [
  line: number,
  column: number | undefined,
  path: string | undefined,
  message: string | RegExp,
]

const DEFECTS: Readonly<Record<string, readonly Expected[]>> = {
  'unknown-key': [[3, 1, 'allowlist', 'unknown key; known here: listen, transparent, admin, policy']],
  'misspelt-section': [[1, 1, 'polcy', 'did you mean `policy`?']],
  'misspelt-rule-key': [[3, 24, 'policy.allow[0].prot', 'did you mean `port`?']],
  'misspelt-nested-key': [[3, 3, 'limits.idleTimout', 'did you mean `idleTimeout`?']],
  'duplicate-key': [[4, 3, '', 'keys must be unique']],
  'duplicate-section': [[6, 1, '', 'keys must be unique']],
  'proto-key': [
    [1, 1, '__proto__', 'unknown key'],
    [2, 1, 'constructor', 'unknown key'],
  ],
  'tab-indentation': [[2, 1, '', 'Tabs are not allowed']],
  'local-tag': [[1, 9, '', '!include']],
  truncated: [[3, 1, '', 'must be sufficiently indented and end with a ]']],
  'two-documents': [[2, 1, '', 'a second document']],
  'unquoted-wildcard': [[4, 13, undefined, /quote/i]],

  empty: [[1, 1, '', 'the file is empty']],
  'comments-only': [[1, 1, '', 'the file is empty']],
  'null-document': [[2, 1, '', 'the file is empty']],
  'null-section': [[2, 1, 'policy', 'expected a mapping (`key: value`), found nothing']],
  'null-allow-list': [[3, 3, 'policy.allow', 'expected a list']],
  'list-instead-of-mapping': [[1, 1, '', 'expected keys such as `listen:`']],
  'text-instead-of-mapping': [[1, 1, '', 'expected keys such as `listen:`']],
  'mapping-instead-of-list': [[3, 5, 'policy.allow', 'expected a list']],
  'text-instead-of-rule': [[3, 7, 'policy.allow[0]', 'write `{ host: cgr.dev, port: 443 }`']],

  'nothing-allowed': [[2, 3, 'policy', 'nothing is allowed; name a preset']],
  'all-expired': [[2, 3, 'policy', 'every rule has expired or is denied by another']],
  'all-denied': [[2, 3, 'policy', 'every rule has expired or is denied by another']],
  'preset-twice': [[5, 7, 'policy.presets[2]', '`chainguard-2024-05-14` is listed twice']],
  'unknown-preset': [
    [
      4,
      7,
      'policy.presets[1]',
      'no preset `chainguard-2025-01-01`; the bundled ones are chainguard-2024-05-14',
    ],
  ],
  'rule-covered-by-deny': [[3, 7, 'policy.allow[0]', 'can never apply: policy.deny[1] covers it']],
  'u-label': [[3, 13, 'policy.allow[0].host', 'write `xn--caf-dma.example.com`']],
  'over-broad': [
    [3, 15, 'policy.allow[0].host', 'every host on the internet'],
    [4, 15, 'policy.allow[1].host', 'everybody who registers a name under com'],
    [5, 15, 'policy.allow[2].host', 'every customer of a shared service'],
  ],
  'two-hosts-in-one': [[3, 13, 'policy.allow[0].host', 'one host for each rule']],

  'bad-duration': [
    [2, 16, 'limits.headTimeout', 'expected a duration such as `500ms`, `10s`, `5m` or `1h`'],
    [3, 16, 'limits.dialTimeout', 'found `10`'],
    [4, 16, 'limits.idleTimeout', 'must be longer than zero'],
    [5, 17, 'limits.drainTimeout', 'at most 24d'],
  ],
  'bad-port': [
    [3, 30, 'policy.allow[0].port', 'from 1 to 65535'],
    [4, 34, 'policy.allow[1].port', 'from 1 to 65535'],
    [5, 37, 'policy.allow[2].port', 'found `https`'],
  ],
  'bad-number': [
    [2, 16, 'limits.connections', 'at least 1'],
    [4, 24, 'clients.maxTunnelsPerClient', 'whole number, found `1.5`'],
    [6, 10, 'dns.tries', 'at most 10'],
  ],
  'bad-date': [
    [3, 33, 'policy.allow[0].expires', 'a date such as `2027-01-31`'],
    [4, 37, 'policy.allow[1].expires', 'a date such as `2027-01-31`'],
  ],
  'bad-words': [
    [2, 9, 'policy.mode', 'expected `enforce` or `report`, found `permissive`'],
    [3, 8, 'policy.sni', 'expected `require` or `off`'],
    [4, 7, 'wire', 'expected `auto` or `kernel` or `portable`'],
    [5, 10, 'workers', 'or `auto`'],
    [7, 11, 'audit.stdout', 'expected `true` or `false`, found `yes`'],
    [8, 11, 'audit.record', 'expected `all` or `denied`'],
  ],
  'bad-listen': [
    [3, 5, 'listen[1]', 'found `localhost`'],
    [4, 5, 'listen[2]', 'found `0.0.0.0:99999`'],
  ],
  'bad-firewall': [
    [1, 15, 'transparent[0]', 'found `localhost`'],
    [3, 9, 'firewall.type', 'expected `nftables`, found `iptables`'],
    [4, 11, 'firewall.users[0]', 'the name or the number of a user'],
    [5, 16, 'firewall.interfaces[0]', 'the name of a network interface'],
    [6, 10, 'firewall.grace', 'longer than zero'],
    [7, 3, 'firewall.tabel', 'unknown key; did you mean `table`'],
  ],
  'bad-dns': [
    [2, 13, 'dns.servers[0]', 'the address of a DNS server'],
    [4, 15, 'dns.hosts.cgr.dev[0]', 'expected an IP address, found `registry`'],
    [5, 18, 'dns.hosts.enforce.dev', 'at least one address'],
  ],
  'upper-case-static-host': [[3, undefined, 'dns.hosts.CGR.dev', 'lower case']],
  'host-bits': [
    [2, 24, 'clients.allow[1]', 'without bits set behind the prefix, found `10.1.2.3/8`'],
    [5, 7, 'addresses.allow[0]', 'found `fd00::1/64`'],
  ],
  'guards-nothing': [
    [3, 7, 'addresses.allow[0]', 'so broad that nothing would be guarded'],
    [4, 7, 'addresses.allow[1]', 'so broad that nothing would be guarded'],
    [5, 7, 'addresses.allow[2]', 'name the blocks in question, such as `10.1.2.0/24`'],
    [6, 7, 'addresses.allow[3]', 'name the blocks in question, such as `10.1.2.0/24`'],
  ],
  'nobody-allowed-in': [[2, 10, 'clients.allow', 'nobody could use the proxy']],
  'empty-texts': [
    [3, 31, 'policy.allow[0].owner', /empty/],
    [3, 43, 'policy.allow[0].reason', /empty/],
    [5, 17, 'audit.file.path', /empty/],
  ],
  'audit-file': [
    [4, 14, 'audit.file.maxSize', 'a size such as `500KiB`'],
    [5, 13, 'audit.file.maxAge', 'at least 1m'],
    [6, 11, 'audit.file.keep', 'from 1 up, or `all`'],
  ],
  'audit-sinks': [
    [3, 14, 'audit.syslog.address', 'an address such as `tcp://127.0.0.1:514`'],
    [4, 15, 'audit.syslog.facility', 'a facility such as `local0`'],
    [6, 10, 'audit.otlp.url', 'a URL such as `http://127.0.0.1:4318/v1/logs`'],
    [8, 12, 'audit.fold.above', 'must be at least 1'],
  ],

  'sni-exception': [
    [3, 7, 'policy.allow[0]', 'say `owner` and `reason`'],
    [4, 7, 'policy.allow[1]', 'say `owner` and `reason`'],
    [6, 38, 'policy.allow[3].sni', 'expected `require` or `off`'],
    [7, 34, 'policy.deny[0].sni', 'unknown key'],
  ],
  'client-rules': [
    [4, 7, 'clients.rules[0]', 'fits everybody'],
    [6, 27, 'clients.rules[2].from[0]', 'without bits set behind the prefix'],
    [8, 29, 'clients.rules[4].users', 'is empty'],
    [11, 38, 'clients.rules[5].policy.moed', 'did you mean `mode`?'],
    [12, 15, 'clients.rules[6].name', 'letters, digits'],
  ],
  'client-policies': [
    [6, 15, 'clients.rules[0].policy', 'nothing is allowed'],
    [6, 27, 'clients.rules[0].policy.presets[0]', 'no preset `nonesuch`'],
    [9, 15, 'clients.rules[1].policy', 'nothing is allowed'],
    [10, 13, 'clients.rules[2].name', 'the name of another rule'],
    [12, 25, 'clients.rules[2].policy.allow[0]', 'policy.deny[0] covers it'],
    [12, 50, 'clients.rules[2].policy.allow[1]', 'clients.rules[2].policy.deny[0] covers it'],
    [14, 14, 'clients.rules[3].users', 'needs a file of passwords'],
  ],
  'many-defects': [
    [2, 9, 'listen', 'expected an address such as `127.0.0.1:3128`'],
    [4, 9, 'policy.mode', 'expected `enforce` or `report`'],
    [5, 13, 'policy.presets[0]', 'no preset `chainguard`'],
    [7, 15, 'policy.allow[0].host', 'write `cgr.dev`'],
    [8, 7, 'policy.allow[1].host', 'expected a host name'],
    [8, 9, 'policy.allow[1].hots', 'did you mean `host`?'],
    [10, 16, 'limits.connections', 'whole number, found `lots`'],
    [11, 16, 'limits.headTimeout', 'found `1min`'],
    [13, 11, 'clients.allow[0]', 'found `10.0.0.0/33`'],
    [14, 1, 'adress', 'did you mean `addresses`?'],
  ],
}

const ANY_COLUMN: unknown = expect.any(Number)
const ANY_PATH: unknown = expect.any(String)
const containing = (part: string): unknown => expect.stringContaining(part)
const matching = (pattern: RegExp): unknown => expect.stringMatching(pattern)

describe('a configuration with a defect', () => {
  test.each(Object.entries(DEFECTS))('%s', (name, expected) => {
    const issues = issuesOf(fixture(`${name}.yaml`))
    expect(issues).toEqual(
      expected.map(([line, column, path, message]) => ({
        source: 'test.yaml',
        line,
        column: column ?? ANY_COLUMN,
        path: path ?? ANY_PATH,
        message: typeof message === 'string' ? containing(message) : matching(message),
      })),
    )
  })

  test.each(Object.keys(DEFECTS))('%s: in words for whoever wrote the file, not for a programmer', (name) => {
    for (const { message } of issuesOf(fixture(`${name}.yaml`))) {
      expect(message).not.toMatch(
        /Too (?:small|big)|Invalid (?:input|option)|[<>]=|parseAllDocuments|undefined|NaN/,
      )
    }
  })

  test.each(Object.keys(DEFECTS))('%s: the same place with the line ends of Windows', (name) => {
    const text = fixture(`${name}.yaml`)
    const places = (issues: readonly ConfigIssue[]) => issues.map(({ line, path }) => ({ line, path }))
    expect(places(issuesOf(text.replaceAll('\n', '\r\n')))).toEqual(places(issuesOf(text)))
  })

  test('every fixture has its row', () => {
    const others = ['alias-bomb', 'complete', 'invalid-utf8']
    const files = readdirSync(FIXTURES).map((file) => file.replace(/\.yaml$/, ''))
    expect(files.toSorted()).toEqual([...Object.keys(DEFECTS), ...others].toSorted())
  })

  test.each([
    ['a', 'x'],
    ['<<', '{ listen: 127.0.0.1:1 }'],
    ['1', 'x'],
  ])('no word is suggested for %j, which is near to none', (key, value) => {
    expect(issuesOf(`${key}: ${value}\n`)).toMatchObject([
      { message: expect.not.stringContaining('did you mean') },
    ])
  })

  test('an unknown preset is reported even where another one is no text', () => {
    const issues = issuesOf('policy:\n  presets: [nope, 7]\n')
    expect(issues).toMatchObject([
      { path: 'policy.presets[0]', message: expect.stringContaining('no preset `nope`') },
      { path: 'policy.presets[1]', message: expect.stringContaining('expected a text') },
    ])
  })

  test('a static host in upper case is reported even where another one has a bad address', () => {
    const paths = issuesOf('dns:\n  hosts:\n    CGR.dev: [192.0.2.1]\n    a.dev: [x]\n').map(
      ({ path }) => path,
    )
    expect(paths).toEqual(['dns.hosts.CGR.dev', 'dns.hosts.a.dev[0]'])
  })

  test('aliases that stand for a billion words are refused before they are written out', () => {
    const issues = issuesOf(fixture('alias-bomb.yaml'))
    expect(issues.length).toBeGreaterThan(0)
    expect(issues[0]?.message).toMatch(/alias/i)
  })

  test('a very deep file is refused like any other', () => {
    expect(issuesOf('['.repeat(3000)).length).toBeGreaterThan(0)
    expect(issuesOf(`policy: ${'['.repeat(500)}${']'.repeat(500)}\n`)).toMatchObject([{ path: 'policy' }])
  })
})

describe('how an issue is shown', () => {
  const text = fixture('many-defects.yaml')
  const issues = issuesOf(text)

  test('as file:line:column: path: message', () => {
    expect(issues.map(formatIssue)[0]).toMatch(/^test\.yaml:2:9: listen: expected an address/)
    expect(formatIssue({ source: '--allow', path: '', message: 'no' })).toBe('--allow: no')
  })

  test('with its line and a caret under the spot', () => {
    const excerpt = issues.map((issue) => formatExcerpt(issue, text))[2]
    expect(excerpt).toBe('  5 |   presets: [chainguard]\n    |             ^\n')
  })

  test('a tab counts as one column, and the line end of Windows is left out', () => {
    const issue = { source: 'x', line: 1, column: 3, path: '', message: '' }
    expect(formatExcerpt(issue, 'a\tb\r\nc\r\n')).toBe('  1 | a b\n    |   ^\n')
  })

  test('without an excerpt where there is no place', () => {
    expect(formatExcerpt({ source: '--allow', path: '', message: '' }, text)).toBe('')
    expect(formatExcerpt({ source: 'x', line: 99, column: 1, path: '', message: '' }, text)).toBe('')
  })
})

describe('policies of clients', () => {
  const config = configOf(
    `
policy: { mode: report, presets: [], allow: [{ host: a.example.com }], deny: [{ host: bad.example.com }], sni: 'off' }
clients:
  passwords: users
  rules:
    - { name: same, users: any }
    - { name: enforced, users: [ada], policy: { mode: enforce, deny: [{ host: worse.example.com }] } }
    - { name: own, from: [10.0.0.0/8], policy: { presets: [chainguard-2026-10-08], allow: [], ipLiterals: verify-sni } }
`,
    { allow: ['cgr.dev'] },
  )
  const [same, enforced, own] = config.clients.rules
  const names = (rules: readonly Rule[] | undefined): unknown =>
    rules?.map((rule) => `${ruleName(rule)} ${rule.ruleset}`)

  test('without one it is the common policy itself', () => {
    expect(same?.policy).toBe(config.policy)
  })

  test('what it leaves out is as in the common one, and the common denials stay', () => {
    expect(enforced?.policy).toMatchObject({ mode: 'enforce', sni: 'off', ipLiterals: 'deny' })
    expect(names(enforced?.policy.allow)).toEqual(['a.example.com:443 policy.allow', 'cgr.dev:443 --allow'])
    expect(names(enforced?.policy.deny)).toEqual([
      'bad.example.com policy.deny',
      'worse.example.com clients.enforced.deny',
    ])
  })

  test('its own lists stand for themselves', () => {
    expect(own?.policy).toMatchObject({ mode: 'report', ipLiterals: 'verify-sni' })
    expect(own?.policy.allow.map(({ ruleset }) => ruleset)).toEqual(Array(17).fill('chainguard-2026-10-08'))
    expect(names(own?.policy.deny)).toEqual(['bad.example.com policy.deny'])
  })

  test('each has its own hash', () => {
    expect(
      new Set([config.policy, ...config.clients.rules.map(({ policy }) => policy)].map(({ hash }) => hash))
        .size,
    ).toBe(3)
    expect(Object.isFrozen(config.clients.rules)).toBe(true)
  })
})

describe('the default configuration', () => {
  const text = readFileSync(DEFAULT_FILE, 'utf8')

  test('says exactly what the schema has as defaults', () => {
    expect(configSchema.parse(parseDocument(text).toJS())).toEqual(configSchema.parse({}))
    expect(configOf(text)).toEqual(configOf('{}'))
  })

  test('docs/configuration.md has a row for every key, and none for others', () => {
    const known = knownKeysAt(configSchema, []).flatMap((section) => {
      const inner = knownKeysAt(configSchema, [section])
      return inner.length === 0 || section === 'listen' ? [section] : inner.map((key) => `${section}.${key}`)
    })
    const rows = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
    const written = [...rows.matchAll(/^\| `([A-Za-z.]+)`/gm)].map(([, key]) => key)
    // What a listener may have is told beside `listen`.
    expect(new Set(written)).toEqual(new Set([...known, 'tls', 'proxyProtocol']))
  })

  test('shows every key that this version knows', () => {
    // Sections and keys that are reserved for a later version.
    // `admin.listen` says nothing there: who has not written it may go without where the port is taken.
    const later = ['admin.listen']
    const known = knownKeysAt(configSchema, []).flatMap((section) => {
      const inner = knownKeysAt(configSchema, [section])
      // Off by default; docs/firewall.md has its keys.
      return inner.length === 0 || section === 'firewall'
        ? [section]
        : inner.map((key) => `${section}.${key}`)
    })
    const document = parseDocument(text)
    const shown = known.filter((path) => document.hasIn(path.split('.')))
    expect(shown).toEqual(known.filter((path) => !later.some((one) => path.startsWith(one))))
  })

  test('allows the nine hosts of the first preset and nothing else', () => {
    const { policy, presets: used } = configOf(text)
    expect(used).toEqual(['chainguard-2024-05-14'])
    expect(policy.allow).toHaveLength(9)
    expect(policy.deny).toEqual([])
    expect(policy.mode).toBe('enforce')
    expect(policy.sni).toBe('require')
  })

  test('has no notices: nothing about it wants attention', () => {
    expect(load(text)).toMatchObject({ ok: true, notices: [] })
  })

  test('the complete sample says the same', () => {
    const { admin, ...rest } = configOf(fixture('complete.yaml'))
    const defaults = configOf(text)
    // Written down, the address is a choice.
    expect({ ...rest, admin: { ...admin, chosen: false } }).toEqual(defaults)
  })
})

describe('what a configuration becomes', () => {
  test('milliseconds, blocks and patterns', () => {
    const config = configOf(`
listen: ['127.0.0.1:0', '[::1]:3129']
policy:
  presets: []
  allow:
    - { host: '*.CGR.dev', port: 8443, owner: platform, reason: images, expires: 2027-01-31 }
    - { host: enforce.dev }
  deny:
    - { host: bad.cgr.dev }
clients: { allow: [10.0.0.0/8] }
dns: { servers: [10.0.0.53, '[::1]:5353', '::1', '127.0.0.1:53'], timeout: 500ms, hosts: { cgr.dev: [192.0.2.7] } }
limits: { headTimeout: 1m, drainTimeout: 0s }
`)
    expect(config.listen).toEqual([
      { host: '127.0.0.1', port: 0 },
      { host: '::1', port: 3129 },
    ])
    expect(config.policy.allow).toEqual([
      {
        host: { kind: 'subdomains', apex: 'cgr.dev' },
        port: 8443,
        ruleset: 'policy.allow',
        owner: 'platform',
        reason: 'images',
        expires: '2027-01-31',
      },
      { host: { kind: 'exact', hostname: 'enforce.dev' }, port: 443, ruleset: 'policy.allow' },
    ])
    expect(config.policy.deny).toMatchObject([{ port: undefined, ruleset: 'policy.deny' }])
    expect(config.clients.allow).toMatchObject([{ text: '10.0.0.0/8', prefixLength: 8 }])
    expect(config.dns).toMatchObject({ timeoutMs: 500, hosts: { 'cgr.dev': ['192.0.2.7'] } })
    expect(config.limits).toMatchObject({ headTimeoutMs: 60_000, drainTimeoutMs: 0, idleTimeoutMs: 900_000 })
  })

  test('it is frozen all the way down', () => {
    const config = configOf('policy: { allow: [{ host: example.com }] }')
    const parts = [config, config.listen, config.listen[0], config.policy, config.policy.allow, config.limits]
    for (const part of [...parts, config.policy.allow.at(-1), config.clients.allow]) {
      expect(Object.isFrozen(part)).toBe(true)
    }
  })

  test('rules of presets come first and carry the name of their preset', () => {
    const { policy } = configOf('policy: { allow: [{ host: example.com }] }', { allow: ['example.org'] })
    const rulesets = policy.allow.map(({ ruleset }) => ruleset)
    expect(rulesets).toEqual([
      ...Array.from({ length: 9 }, () => 'chainguard-2024-05-14'),
      'policy.allow',
      '--allow',
    ])
  })

  test('a byte order mark is no defect, and moves no place', () => {
    expect(load('\ufefflisten: 127.0.0.1:3128\n').ok).toBe(true)
    expect(issuesOf('\ufefflisten: 127.0.0.1:3128\nlimits: 5\n')).toMatchObject([{ line: 2, column: 9 }])
  })

  test('a deny rule with another port or an end leaves the allow rule its use', () => {
    const rules = (deny: string): string => `policy:\n  allow: [{ host: example.com }]\n  deny: [${deny}]\n`
    expect(load(rules('{ host: example.com, port: 80 }')).ok).toBe(true)
    expect(load(rules('{ host: example.com, expires: 2027-01-01 }')).ok).toBe(true)
    expect(load(rules('{ host: "*.example.com" }')).ok).toBe(true)
    expect(load(rules('{ host: example.com }')).ok).toBe(false)
    expect(load(rules('{ host: example.com, port: 443 }')).ok).toBe(false)
  })

  test('one rule in force is enough, whatever became of the others', () => {
    const policy = (allow: string, deny: string): string =>
      `policy:\n  presets: []\n  allow: [${allow}]\n  deny: [${deny}]\n`
    const old = '{ host: old.example.com, expires: 2026-11-22 }'
    expect(issuesOf(policy(old, ''))).toMatchObject([{ path: 'policy' }])
    expect(load(policy(`${old}, { host: example.org }`, '')).ok).toBe(true)
    // A deny rule that ends takes nothing away for good.
    const closed = '{ host: "*.com", expires: 2026-12-01 }'
    expect(load(policy('{ host: a.example.com }', closed)).ok).toBe(true)
  })

  test('addresses.allow may be as broad as a private block', () => {
    const { addresses } = configOf('addresses: { allow: [10.0.0.0/8, "fc00::/7", 192.0.2.1/32] }')
    expect(addresses.allow.map(({ text }) => text)).toEqual(['10.0.0.0/8', 'fc00::/7', '192.0.2.1/32'])
  })

  test('a deny rule may take a host out of a preset', () => {
    expect(load('policy: { deny: [{ host: chainguardhelp.zendesk.com }] }').ok).toBe(true)
  })

  test.each([
    ['an expired rule', '{ allow: [{ host: example.com, expires: 2026-11-22 }] }', 'example.com:443 expired'],
    ['mode report', '{ mode: report }', 'nothing is denied by policy'],
  ])('%s is worth a notice', (_what, policy, notice) => {
    expect(load(`policy: ${policy}\n`)).toMatchObject({
      ok: true,
      notices: [expect.stringContaining(notice)],
    })
  })

  test.each([
    [
      'a static host that no rule allows',
      'dns: { hosts: { cgr.dev: [192.0.2.7], static.cgr.dev: [192.0.2.8] } }',
      ['dns.hosts: no rule allows static.cgr.dev, so its addresses are never used'],
    ],
    [
      'a static host below a wildcard, and its apex',
      'policy: { allow: [{ host: "*.example.com" }] }\n' +
        'dns: { hosts: { a.example.com: [192.0.2.7], example.com: [192.0.2.8] } }',
      ['dns.hosts: no rule allows example.com, so its addresses are never used'],
    ],
    [
      'a proxy for everybody',
      'clients: { allow: [127.0.0.0/8, 0.0.0.0/0] }',
      ['clients.allow: everybody who reaches the port may use the proxy'],
    ],
    [
      'a proxy for everybody with IPv6, and for everybody else',
      'clients: { allow: ["::/0", 0.0.0.0/0] }',
      ['clients.allow: everybody who reaches the port may use the proxy'],
    ],
    ['a proxy for a large network', 'clients: { allow: [10.0.0.0/8, "fc00::/7"] }', []],
  ])('notices of %s', (_what, text, notices) => {
    expect(load(text)).toMatchObject({ ok: true, notices })
  })

  test('a static host for a rule of --allow is used, and no notice', () => {
    const text = 'dns: { hosts: { example.com: [192.0.2.7] } }'
    expect(load(text, { allow: ['example.com'] })).toMatchObject({ ok: true, notices: [] })
  })

  test('a rule on its last day has not expired', () => {
    const text = 'policy: { allow: [{ host: example.com, expires: 2026-11-23 }] }'
    expect(load(text)).toMatchObject({ ok: true, notices: [] })
  })
})

describe('options of the command line', () => {
  test('--listen replaces every address of the file', () => {
    const { listen } = configOf("listen: ['127.0.0.1:1', '127.0.0.1:2']", { listen: '[::1]:3' })
    expect(listen).toEqual([{ host: '::1', port: 3 }])
  })

  test('--allow makes a policy out of an empty one', () => {
    const text = 'policy: { presets: [], allow: [] }'
    expect(load(text).ok).toBe(false)
    expect(configOf(text, { allow: ['example.com'] }).policy.allow).toMatchObject([{ port: 443 }])
  })

  test('--allow of a host that the file denies is reported at the rule that denies it', () => {
    const text = 'policy:\n  deny:\n    - { host: bad.example.org }\n    - { host: "*.example.com" }\n'
    expect(issuesOf(text, { allow: ['ok.example.org', 'a.example.com'] }).map(formatIssue)).toEqual([
      'test.yaml:4:7: policy.deny[1]: covers `--allow a.example.com:443`, which can then never apply',
    ])
    expect(issuesOf(text, { allow: ['*.a.example.com'] })).toMatchObject([{ path: 'policy.deny[1]' }])
    // It denies one host of many, another port, or for a time only.
    expect(load(text, { allow: ['*.example.org'] }).ok).toBe(true)
    for (const more of ['port: 80', 'expires: 2026-12-01']) {
      const deny = `policy: { deny: [{ host: example.com, ${more} }] }`
      expect(load(deny, { allow: ['example.com'] }).ok).toBe(true)
    }
  })

  test('their mistakes are reported with those of the file', () => {
    const issues = issuesOf('limits: 5\n', {
      listen: 'localhost',
      allow: ['*.com', 'https://cgr.dev', 'ok.test.org'],
    })
    expect(issues.map(formatIssue)).toEqual([
      expect.stringMatching(/^--listen: .*`localhost`/),
      expect.stringMatching(/^--allow: `\*\.com`: .*everybody/),
      expect.stringMatching(/^--allow: .*write `cgr\.dev`/),
      expect.stringMatching(/^test\.yaml:1:9: limits: expected a mapping/),
    ])
  })
})

describe('files that cannot be read', () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-config-'))
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true })
  })

  test.each([
    ['invalid UTF-8', fileURLToPath(new URL('invalid-utf8.yaml', FIXTURES)), 'not UTF-8 text'],
    ['no file', join(folder, 'absent.yaml'), 'no such file'],
    ['a folder', folder, 'a folder, not a file'],
  ])('%s', (_what, file, why) => {
    expect(readConfig(file)).toEqual({ kind: 'unreadable', message: `${file}: ${why}` })
  })

  test('a file of more than 4 MiB is not even read', () => {
    const file = join(folder, 'huge.yaml')
    writeFileSync(file, `# ${'x'.repeat(4 * 1024 * 1024)}\n`)
    expect(readConfig(file)).toEqual({
      kind: 'unreadable',
      message: expect.stringContaining('larger than 4 MiB'),
    })
  })

  test('a large one below that is read', () => {
    const file = join(folder, 'large.yaml')
    const rules = Array.from({ length: 5000 }, (_, index) => `    - { host: host-${index}.example.com }`)
    writeFileSync(file, `policy:\n  presets: []\n  allow:\n${rules.join('\n')}\n`)
    const read = readConfig(file)
    expect(read.kind === 'config' && read.config.policy.allow.length).toBe(5000)
  })

  test('without a file it is the default configuration', () => {
    expect(readConfig()).toMatchObject({
      kind: 'config',
      file: expect.stringMatching(/config.sallyport\.yaml$/),
    })
  })
})
