/** Table A: what stands where the host should. Port 443 unless the row says otherwise. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { compilePolicy, loadConfig, readConfig } from '../../src/index.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { clientHello } from '../support/client-hello.ts'
import { addresses } from '../support/dns-scripts.ts'
import { ALLOWLIST, connectRequest, expectThrough, openLab, PUBLIC } from '../support/lab.ts'
import { expectNextServed, expectOneDecision, expectRefused, expectReply, type Verdict } from './verdict.ts'

const malformed = (kind: string): Verdict => ({ status: 400, code: 'malformed_authority', kind })
const NOT_ALLOWED: Verdict = { status: 403, code: 'host_not_allowed' }
const BAD_REQUEST: Verdict = { status: 400, code: 'malformed_request' }

/** A name of 254 bytes, one more than a name may have, in labels of 63 and less. */
const NAME_OF_254 = `${'a'.repeat(63)}.`.repeat(3) + `${'a'.repeat(58)}.dev`
const NAME_OF_10_KIB = `${'a'.repeat(63)}.`.repeat(160)

describe('allowed', () => {
  test.for([
    { id: 'A1', attack: 'none: the baseline', target: 'cgr.dev:443', host: 'cgr.dev', sni: 'cgr.dev' },
    { id: 'A2', attack: 'upper case', target: 'CGR.DEV:443', host: 'cgr.dev', sni: 'cgr.dev' },
    { id: 'A2', attack: 'upper case in the SNI too', target: 'Cgr.dEv:443', host: 'cgr.dev', sni: 'CGR.dev' },
    {
      id: 'A26',
      attack: 'a leading digit',
      target: '1password.com:443',
      host: '1password.com',
      sni: '1password.com',
    },
  ])('$id $attack: $target opens under one spelling', async ({ target, host, sni }) => {
    const lab = await openLab()
    const allow = [...ALLOWLIST, { host: '1password.com' }]
    const gate = await lab.gate({ policy: { allow } })
    lab.dns.on('1password.com', 'A', addresses(60, PUBLIC))
    const client = await lab.client(gate)
    await client.send(connectRequest(target))
    expect((await client.reply()).statusLine).toBe('HTTP/1.1 200 Connection established')
    await expectThrough(client, await clientHello(sni))

    const record = await expectOneDecision(gate, { status: 200, code: 'allowed' })
    expect(record.destination).toEqual({ domain: host, ip: PUBLIC, port: 443 })
    expect(record.rule?.name).toBe(`${host}:443`)
    expect(new Set(lab.dns.queries.map(({ name }) => name))).toEqual(new Set([host]))
    expect(lab.wire.dialled).toEqual([{ address: PUBLIC, port: 443 }])
    await expectNextServed(lab, gate)
  })
})

describe('refused', () => {
  test.for<{ id: string; attack: string; target: string; host?: string; verdict: Verdict }>([
    { id: 'A3', attack: 'a trailing dot', target: 'cgr.dev.:443', verdict: malformed('trailing_dot') },
    {
      id: 'A4',
      attack: 'an empty label at the end',
      target: 'cgr.dev..:443',
      verdict: malformed('empty_label'),
    },
    {
      id: 'A4',
      attack: 'an empty label in front',
      target: '.cgr.dev:443',
      verdict: malformed('empty_label'),
    },
    { id: 'A4', attack: 'an empty label inside', target: 'cgr..dev:443', verdict: malformed('empty_label') },
    { id: 'A5', attack: 'a name in brackets', target: '[cgr.dev]:443', verdict: malformed('bad_brackets') },
    { id: 'A5', attack: 'an opening bracket', target: '[cgr.dev:443', verdict: malformed('bad_brackets') },
    { id: 'A5', attack: 'a closing bracket', target: 'cgr.dev]:443', verdict: malformed('bad_brackets') },
    {
      id: 'A6',
      attack: 'a suffix without a label boundary',
      target: 'evilcgr.dev:443',
      verdict: NOT_ALLOWED,
    },
    { id: 'A7', attack: 'a subdomain of an exact rule', target: 'x.cgr.dev:443', verdict: NOT_ALLOWED },
    // A single label is a hostname by the grammar, and no rule names it: 403.
    { id: 'A7', attack: 'the parent of an exact rule', target: 'dev:443', verdict: NOT_ALLOWED },
    { id: 'A8', attack: 'any character for a dot', target: 'registryxnpmjs.org:443', verdict: NOT_ALLOWED },
    // As `dev` above.
    { id: 'A8', attack: 'any character for the only dot', target: 'cgrxdev:443', verdict: NOT_ALLOWED },
    { id: 'A9', attack: 'userinfo', target: 'cgr.dev@evil.test:443', verdict: malformed('userinfo') },
    {
      id: 'A10',
      attack: 'userinfo with a port',
      target: 'cgr.dev:443@evil.test:443',
      verdict: malformed('userinfo'),
    },
    {
      id: 'A11',
      attack: 'a percent-encoded NUL',
      target: 'evil.test%00.cgr.dev:443',
      verdict: malformed('percent_escape'),
    },
    {
      id: 'A12',
      attack: 'a raw NUL',
      target: 'evil.test\0.cgr.dev:443',
      host: 'cgr.dev',
      // The head parser sees it first: no control byte gets as far as a target.
      verdict: BAD_REQUEST,
    },
    { id: 'A13', attack: 'an encoded dot', target: 'cgr%2edev:443', verdict: malformed('percent_escape') },
    {
      id: 'A13',
      attack: 'a dot encoded twice',
      target: 'cgr%252edev:443',
      verdict: malformed('percent_escape'),
    },
    { id: 'A14', attack: 'a path after the port', target: 'cgr.dev:443/', verdict: malformed('path') },
    { id: 'A14', attack: 'a path before the port', target: 'cgr.dev/x:443', verdict: malformed('path') },
    { id: 'A15', attack: 'a query', target: 'cgr.dev:443?x', verdict: malformed('path') },
    { id: 'A15', attack: 'a fragment', target: 'cgr.dev:443#x', verdict: malformed('path') },
    { id: 'A16', attack: 'a backslash', target: 'cgr.dev\\@evil.test:443', verdict: malformed('userinfo') },
    { id: 'A16', attack: 'a backslash alone', target: 'cgr.dev\\evil.test:443', verdict: malformed('path') },
    { id: 'A17', attack: 'an https URL', target: 'https://cgr.dev:443', verdict: malformed('scheme') },
    { id: 'A17', attack: 'a URL of CONNECT', target: 'connect://cgr.dev:443', verdict: malformed('scheme') },
    { id: 'A18', attack: 'a bare wildcard', target: '*:443', verdict: malformed('wildcard') },
    { id: 'A18', attack: 'a wildcard label', target: '*.dev:443', verdict: malformed('wildcard') },
    { id: 'A19', attack: 'an exclamation mark', target: 'cgr.dev!:443', verdict: malformed('bad_character') },
    { id: 'A19', attack: 'parentheses', target: '(cgr.dev):443', verdict: malformed('bad_character') },
    { id: 'A19', attack: 'a plus sign', target: 'cgr.dev+:443', verdict: malformed('bad_character') },
    { id: 'A20', attack: 'a Cyrillic letter', target: '\u0441gr.dev:443', verdict: malformed('not_ascii') },
    { id: 'A21', attack: 'the same in punycode', target: 'xn--gr-nmc.dev:443', verdict: NOT_ALLOWED },
    {
      id: 'A22',
      attack: 'fullwidth letters',
      target: '\uff43\uff47\uff52.dev:443',
      verdict: malformed('not_ascii'),
    },
    {
      id: 'A22',
      attack: 'an ideographic full stop',
      target: 'cgr\u3002dev:443',
      verdict: malformed('not_ascii'),
    },
    { id: 'A23', attack: 'an underscore', target: '_x.cgr.dev:443', verdict: malformed('bad_character') },
    {
      id: 'A24',
      attack: 'a name of 254 bytes',
      target: `${NAME_OF_254}:443`,
      verdict: malformed('too_long'),
    },
    {
      id: 'A24',
      attack: 'a name of 10 KiB',
      target: `${NAME_OF_10_KIB}dev:443`,
      // A Host that repeats it would be past the limit of the head.
      host: 'cgr.dev',
      verdict: malformed('too_long'),
    },
    // Four words make no request line, so the head parser refuses it before there is a target.
    { id: 'A25', attack: 'a space before the port', target: 'cgr.dev :443', verdict: BAD_REQUEST },
    { id: 'A25', attack: 'a tab before the port', target: 'cgr.dev\t:443', verdict: malformed('whitespace') },
    // A well-formed name like any other, which no rule names.
    { id: 'A27', attack: 'localhost', target: 'localhost:443', verdict: NOT_ALLOWED },
    {
      id: 'A27',
      attack: 'localhost with a dot',
      target: 'localhost.:443',
      verdict: malformed('trailing_dot'),
    },
    { id: 'A28', attack: 'cloud metadata', target: 'metadata.google.internal:443', verdict: NOT_ALLOWED },
    { id: 'A28', attack: 'wildcard DNS', target: '127.0.0.1.nip.io:443', verdict: NOT_ALLOWED },
    { id: 'A31', attack: 'no host', target: ':443', verdict: malformed('empty') },
    { id: 'A31', attack: 'no target', target: '', host: 'cgr.dev', verdict: BAD_REQUEST },
  ])('$id $attack: $target', async ({ target, host, verdict }) => {
    const lab = await openLab()
    const { record } = await expectRefused(lab, await lab.gate(), [connectRequest(target, host)], verdict)
    // What is no hostname names no destination.
    expect(record.destination === undefined).toBe(verdict.status === 400)
  })

  test('A9 what stands before an @ may be a password, and is neither told nor recorded', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const request = connectRequest('user:hunter2@cgr.dev:443', 'cgr.dev')
    const { reply } = await expectRefused(lab, gate, [request], malformed('userinfo'))
    expect(
      [reply.statusLine, ...reply.headerLines, reply.body, ...gate.audit.lines].join('\n'),
    ).not.toContain('hunter2')
  })

  test('A31 not even a space for the target', async () => {
    const lab = await openLab()
    const head = 'CONNECT HTTP/1.1\r\nHost: cgr.dev\r\n\r\n'
    const { record } = await expectRefused(lab, await lab.gate(), [head], BAD_REQUEST)
    expect(record.destination).toBeUndefined()
  })
})

describe('a policy that allows nothing does not start', () => {
  test.for([
    { what: 'no preset and no rule', text: 'policy:\n  presets: []\n  allow: []\n', line: 2 },
    { what: 'no preset and no word of rules', text: 'policy: { presets: [] }\n', line: 1 },
    { what: 'a list of rules that is null', text: 'policy:\n  presets: []\n  allow: null\n', line: 3 },
    { what: 'a policy that is null', text: 'policy: null\n', line: 1 },
    { what: 'an empty file', text: '', line: 1 },
    { what: 'a file of comments', text: '# nothing\n', line: 1 },
    { what: 'the document null', text: 'null\n', line: 1 },
    { what: 'the document []', text: '[]\n', line: 1 },
  ])('A29 $what', ({ text, line }) => {
    const result = load(text)
    if (result.ok) throw new Error('it was accepted')
    expect(result.issues).not.toEqual([])
    expect(result.issues[0]).toMatchObject({ source: 'test.yaml', line })
    expect(result.issues[0]?.column).toBeGreaterThan(0)
  })

  test('A29 a missing file, and one that is empty on the disk', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    expect(readConfig(join(folder, 'missing.yaml'))).toMatchObject({ kind: 'unreadable' })
    const empty = join(folder, 'empty.yaml')
    writeFileSync(empty, '')
    expect(readConfig(empty)).toMatchObject({ kind: 'invalid' })
  })

  test('A29 even when the parsed configuration is emptied of rules, everything is denied', async () => {
    const lab = await openLab()
    const gate = await lab.gate(undefined, {
      adapt: (config) => ({ ...config, policy: compilePolicy({ mode: 'enforce', allow: [], deny: [] }) }),
    })
    const client = await lab.client(gate)
    await client.send(connectRequest('cgr.dev:443'))
    await expectReply(client, NOT_ALLOWED)
    expect(lab.dns.queries).toEqual([])
  })
})

describe('a rule that would allow too much, or never applies, is refused with its place', () => {
  test.for([
    { attack: 'two hosts in one', host: 'cgr.dev evil.test' },
    { attack: 'two hosts in two lines', host: 'cgr.dev\\nevil.test' },
    { attack: 'every host', host: '*' },
    { attack: 'a whole top-level domain', host: '*.dev' },
    { attack: 'a leading dot', host: '.cgr.dev' },
    { attack: 'a port in the host', host: 'cgr.dev:443' },
    { attack: 'letters beyond ASCII', host: 'b\u00fccher.example' },
    { attack: 'a look-alike', host: '\u0441gr.dev' },
    { attack: 'a URL', host: 'https://cgr.dev' },
    { attack: 'an address', host: '8.8.8.8' },
    { attack: 'a wildcard inside', host: 'x.*.dev' },
    { attack: 'nothing', host: '' },
  ])('A30 $attack: $host', ({ host }) => {
    const result = load(
      `policy:\n  presets: []\n  allow:\n    - { host: cgr.dev }\n    - { host: "${host}" }\n`,
    )
    if (result.ok) throw new Error('it was accepted')
    expect(result.issues).toHaveLength(1)
    expect(result.issues[0]).toMatchObject({ path: 'policy.allow[1].host', line: 5, column: 15 })
  })
})

function load(text: string): ReturnType<typeof loadConfig> {
  return loadConfig({ text, name: 'test.yaml', presets: readBundledPresets(), nowMs: Date.now() })
}
