import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  coversPattern,
  formatHostPattern,
  matchesHost,
  parseHostPattern,
} from '../../src/policy/host-pattern.ts'
import { rule } from './policies.ts'

const pattern = (text: string) => rule(text).host

describe('rules that are fine', () => {
  test.each([
    ['cgr.dev', 'cgr.dev'],
    ['CGR.DEV', 'cgr.dev'],
    ['*.cgr.dev', '*.cgr.dev'],
    ['*.CGR.Dev', '*.cgr.dev'],
    ['*.example.co.uk', '*.example.co.uk'],
    ['*.apps.example.com', '*.apps.example.com'],
    ['*.svc.cluster.local', '*.svc.cluster.local'],
    ['registry.internal', 'registry.internal'],
    ['xn--gr-nmc.dev', 'xn--gr-nmc.dev'],
    // One customer of a shared service is a host like any other.
    ['chainguardhelp.zendesk.com', 'chainguardhelp.zendesk.com'],
    ['acme.blob.core.windows.net', 'acme.blob.core.windows.net'],
    ['*.acme.s3.amazonaws.com', '*.acme.s3.amazonaws.com'],
    // The front pages of the services themselves.
    ['github.io', 'github.io'],
    ['www.zendesk.com', 'www.zendesk.com'],
  ])('%s', (text, canonical) => {
    const result = parseHostPattern(text)
    expect(result.ok && formatHostPattern(result.pattern)).toBe(canonical)
  })
})

describe('allow rules that let strangers in', () => {
  const EVERYBODY = /allows everybody who registers a name under/
  const CUSTOMERS = /allows every customer of a shared service/
  test.each([
    ['every host', '*', /allows every host/, 'one by one'],
    ['a top-level domain', '*.com', EVERYBODY, 'one by one'],
    ['another one', '*.dev', EVERYBODY, 'one by one'],
    ['a top-level domain without any rule of its own', '*.internal', EVERYBODY, 'one by one'],
    ['a public suffix of two labels', '*.co.uk', EVERYBODY, 'one by one'],
    ['a public suffix in upper case', '*.CO.UK', EVERYBODY, 'one by one'],
    ['pages of strangers', '*.github.io', EVERYBODY, 'one by one'],
    ['functions of strangers', '*.workers.dev', EVERYBODY, 'one by one'],
    ['buckets of strangers', '*.s3.amazonaws.com', EVERYBODY, 'one by one'],
    ['blob storage', '*.r2.cloudflarestorage.com', CUSTOMERS, 'your-account.r2.cloudflarestorage.com'],
    ['everything above blob storage', '*.cloudflarestorage.com', CUSTOMERS, 'cloudflarestorage.com'],
    ['help desks', '*.zendesk.com', CUSTOMERS, 'your-account.zendesk.com'],
    ['logins', '*.us.auth0.com', CUSTOMERS, 'your-account.us.auth0.com'],
    ['Azure blobs', '*.blob.core.windows.net', EVERYBODY, 'one by one'],
    ['everything above Azure blobs', '*.core.windows.net', CUSTOMERS, 'your-account.'],
    ['everything above that', '*.windows.net', CUSTOMERS, 'your-account.'],
    ['the whole of AWS', '*.amazonaws.com', /allows every/, ''],
    // The same storage accounts, by their other doors.
    ['Azure data lakes', '*.dfs.core.windows.net', /allows every/, ''],
    ['Azure queues', '*.queue.core.windows.net', /allows every/, ''],
    ['Azure tables', '*.table.core.windows.net', /allows every/, ''],
    // The public suffix list has these as `*.kawasaki.jp` and the like.
    ['a suffix that is a wildcard itself', '*.kawasaki.jp', /allows every/, ''],
    ['load balancers of strangers', '*.elb.amazonaws.com', /allows every/, ''],
    ['virtual machines of strangers', '*.compute.amazonaws.com', /allows every/, ''],
    // s3.eu-west-1.amazonaws.com, where anybody opens a bucket, is below it.
    ['a region with buckets of strangers below it', '*.eu-west-1.amazonaws.com', /allows every/, ''],
  ])('%s: %s', (_what, text, problem, advice) => {
    const result = parseHostPattern(text)
    expect(result).toMatchObject({ ok: false, problem: expect.stringMatching(problem) })
    expect(!result.ok && result.advice).toContain(advice)
  })

  test.each(['*.com', '*.co.uk', '*.github.io', '*.zendesk.com', 'com', 'localhost'])(
    'a deny rule may be as broad as %s: it only takes away',
    (text) => {
      expect(parseHostPattern(text, 'deny')).toMatchObject({ ok: true })
    },
  )
})

describe('rules that can never apply, each with what to write instead', () => {
  test.each([
    ['nothing', '', 'empty', '`cgr.dev`'],
    ['spaces only', '  ', 'empty', '`cgr.dev`'],
    ['a top-level domain', 'com', 'public suffix', 'full name'],
    ['a public suffix', 'co.uk', 'public suffix', 'full name'],
    ['a single label', 'registry', 'single label', 'full name'],
    ['this machine', 'localhost', 'single label', 'full name'],
    ['an IPv4 address', '10.0.0.1', 'IP address', 'host name'],
    ['an IPv6 address', '::1', 'IP address', 'host name'],
    ['an IPv6 address in brackets', '[2001:db8::1]', 'IP address', 'host name'],
    ['a short form of an address', '127.1', 'not a hostname', ''],
    ['a URL', 'https://cgr.dev', 'URL', '`cgr.dev`'],
    ['a URL with everything', 'https://user:secret@cgr.dev:443/v2/?n=1#top', 'URL', '`cgr.dev`'],
    ['an upper-case scheme', 'HTTPS://cgr.dev/', 'URL', '`cgr.dev`'],
    ['a registry reference', 'oci://cgr.dev/chainguard/static', 'URL', '`cgr.dev`'],
    ['an image reference', 'cgr.dev/chainguard/static', 'path', '`cgr.dev`'],
    ['a trailing slash', 'cgr.dev/', 'path', '`cgr.dev`'],
    ['host:port', 'cgr.dev:443', 'port', '`host: cgr.dev` and `port: 443`'],
    ['host:port with another port', 'cgr.dev:8443', 'port', '`port: 8443`'],
    ['a colon without a port', 'cgr.dev:', 'port', '`port: 443`'],
    ['a leading dot', '.cgr.dev', 'leading dot', '`*.cgr.dev` for the subdomains, `cgr.dev` for the host'],
    ['a trailing dot', 'cgr.dev.', 'trailing dot', '`cgr.dev`'],
    ['a trailing dot on a wildcard', '*.cgr.dev.', 'trailing dot', '`*.cgr.dev`'],
    ['two trailing dots', 'cgr.dev..', 'trailing dot', '`cgr.dev`'],
    ['a U-label', 'café.dev', 'ASCII', '`xn--caf-dma.dev`'],
    ['a U-label below a wildcard', '*.café.dev', 'ASCII', '`*.xn--caf-dma.dev`'],
    ['a Cyrillic homograph', 'сgr.dev', 'ASCII', '`xn--gr-nmc.dev`'],
    ['full-width letters', 'ｃｇｒ.dev', 'ASCII', '`cgr.dev`'],
    ['a `*` at the end', 'cgr.*', 'whole leading labels', '`*.example.com`'],
    ['a `*` in the middle', 'a.*.dev', 'whole leading labels', '`*.example.com`'],
    ['a `*` inside a label', 'cgr*.dev', 'whole leading labels', '`*.example.com`'],
    ['a `*` without a dot', '*cgr.dev', 'whole leading labels', '`*.example.com`'],
    ['two wildcards', '*.*.cgr.dev', 'whole leading labels', '`*.example.com`'],
    ['two stars', '**.cgr.dev', 'whole leading labels', '`*.example.com`'],
    ['a wildcard over an address', '*.10.0.0.1', 'not a hostname', '`*.example.com`'],
    ['two hosts', 'cgr.dev evil.test', 'no spaces', 'one host for each rule'],
    ['two hosts with a comma', 'cgr.dev, evil.test', 'no spaces', 'one host for each rule'],
    ['two hosts without a space', 'cgr.dev,evil.test', 'not a hostname', 'letters, digits'],
    ['a leading space', ' cgr.dev', 'no spaces', ''],
    ['a line break', 'cgr.dev\nevil.test', 'no spaces', ''],
    ['a NUL', 'cgr.dev\0', 'not a hostname', 'letters, digits'],
    ['an underscore', '_x.cgr.dev', 'not a hostname', 'letters, digits'],
    ['an empty label', 'cgr..dev', 'not a hostname', 'letters, digits'],
    ['a regular expression', '^cgr\\.dev$', 'not a hostname', 'letters, digits'],
    ['user information', 'user@cgr.dev', 'not a hostname', 'letters, digits'],
  ])('%s: %j', (_what, text, problem, advice) => {
    for (const use of ['allow', 'deny'] as const) {
      if (use === 'deny' && /suffix|single/.test(problem)) continue
      const result = parseHostPattern(text, use)
      expect(result).toMatchObject({ ok: false, problem: expect.stringContaining(problem) })
      expect(!result.ok && result.advice).toContain(advice)
    }
  })

  test.each([
    ['an address block', '10.0.0.0/8'],
    ['an IPv6 block', 'fd00::/8'],
    ['an address with its port', '203.0.113.7:443'],
    ['a URL of an address', 'http://127.0.0.1/'],
    ['a URL of an IPv6 address', 'https://[::1]:443/'],
    ['a URL of everything', 'https://*/'],
    ['a reference without a scheme', '//cgr.dev'],
    ['an address in ideographic dots', '127。0。0。1'],
    ['the port of everything', '*:443'],
  ])('what is suggested instead of %s is not refused in turn', (_what, text) => {
    const result = parseHostPattern(text)
    if (result.ok) throw new Error(`${text} was accepted`)
    const suggested = [...result.advice.matchAll(/`([^`]*)`/g)]
      .map(([, quoted = '']) => quoted.replace(/^host: /, '').replace(/^'(.*)'$/, '$1'))
      .filter((quoted) => !quoted.startsWith('port:'))
    expect(suggested.filter((host) => !parseHostPattern(host).ok)).toEqual([])
  })

  test('a wildcard in a suggested line of YAML is quoted: a bare `*` is an alias there', () => {
    const result = parseHostPattern('*.cgr.dev:443')
    expect(!result.ok && result.advice).toMatch(/`host: (['"])\*\.cgr\.dev\1`/)
  })

  test('a deny rule for everything is not called one that allows everything', () => {
    const result = parseHostPattern('*', 'deny')
    expect(result.ok ? '' : result.problem).not.toContain('allows')
  })
})

describe('what a pattern matches', () => {
  test.each([
    ['cgr.dev', 'cgr.dev', true],
    ['cgr.dev', 'evilcgr.dev', false],
    ['cgr.dev', 'x.cgr.dev', false],
    ['cgr.dev', 'cgrxdev', false],
    ['cgr.dev', 'dev', false],
    ['cgr.dev', 'cgr.dev.evil.test', false],
    ['*.cgr.dev', 'apk.cgr.dev', true],
    ['*.cgr.dev', 'a.b.c.cgr.dev', true],
    ['*.cgr.dev', 'cgr.dev', false],
    ['*.cgr.dev', 'evilcgr.dev', false],
    ['*.cgr.dev', 'apk.cgr.dev.evil.test', false],
  ])('%s and %s: %s', (text, host, expected) => {
    expect(matchesHost(pattern(text), host)).toBe(expected)
  })

  test.each([
    ['cgr.dev', 'cgr.dev', true],
    ['cgr.dev', '*.cgr.dev', false],
    ['*.cgr.dev', 'cgr.dev', false],
    ['*.cgr.dev', 'a.cgr.dev', true],
    ['*.cgr.dev', '*.cgr.dev', true],
    ['*.cgr.dev', '*.a.cgr.dev', true],
    ['*.a.cgr.dev', '*.cgr.dev', false],
    ['*.cgr.dev', '*.evilcgr.dev', false],
  ])('%s covers %s: %s', (outer, inner, expected) => {
    expect(coversPattern(pattern(outer), pattern(inner))).toBe(expected)
  })

  test('a wildcard matches exactly what is below its apex, label by label', () => {
    const label = fc.constantFrom('a', 'b', 'cgr', 'xcgr')
    const name = fc.array(label, { minLength: 2, maxLength: 5 }).map((labels) => `${labels.join('.')}.test`)
    fc.assert(
      fc.property(name, name, (apex, host) => {
        const below = host.split('.').slice(-apex.split('.').length).join('.') === apex && host !== apex
        expect(matchesHost(pattern(`*.${apex}`), host)).toBe(below)
      }),
      { numRuns: 1000 },
    )
  })
})
