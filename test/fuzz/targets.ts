/**
 * What is fuzzed, and what has to hold whatever comes in. A check throws where something does not hold; else it says in a
 * word how the input was judged, and inputs that are judged in a new way become material for others.
 */
import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { loadConfig } from '../../src/config/load.ts'
import { parseAuthority } from '../../src/policy/authority.ts'
import { formatHostPattern, matchesHost, parseHostPattern } from '../../src/policy/host-pattern.ts'
import { parseHostname } from '../../src/policy/hostname.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { MAX_HEAD_BYTES } from '../../src/proxy/head.ts'
import { ClientHelloParser, MAX_HELLO_BYTES, type HelloResult } from '../../src/tls/client-hello.ts'
import {
  helloRecord,
  inRecords,
  buildHello,
  alpn,
  serverName,
  supportedVersions,
} from '../tls/hello-builder.ts'
import { readByPackage } from '../tls/hello-judges.ts'
import { absoluteForm } from './absolute-form.ts'
import { askNode } from './node-http.ts'
import { parseHead } from './parse-head.ts'
import { proxyProtocol } from './proxy-protocol.ts'
import { segments, texts, type FuzzTarget } from './target.ts'

const CANONICAL =
  /^(?=.{1,253}$)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/

const head: FuzzTarget = {
  name: 'head',
  seeds: texts(
    'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev:443\r\n\r\n',
    'CONNECT cgr.dev:443 HTTP/1.0\r\n\r\n',
    'CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]\r\nUser-Agent: curl/8\r\n\r\n\x16\x03\x01',
    'GET http://cgr.dev/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n',
    'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
    'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\nContent-Length: 0\r\nProxy-Authorization: Basic eDp5\r\n\r\n',
  ),
  dictionary: texts(
    '\r\n',
    '\n',
    '\r',
    ' ',
    '\t',
    ':',
    'Host: ',
    'Host: cgr.dev\r\n',
    'Content-Length: 5\r\n',
    'Content-Length:0\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Connection: Upgrade\r\nUpgrade: x\r\n',
    'HTTP/1.1',
    'HTTP/0.9',
    'CONNECT ',
    '__proto__: x\r\n',
    '\x80',
    '\0',
    `X: ${'x'.repeat(4000)}\r\n`,
  ),
  async check(input) {
    const whole = parseHead([input])
    assert.deepEqual(parseHead(segments(input)), whole, 'the verdict depends on the segments')
    if (whole.kind === 'incomplete') {
      assert.ok(input.length < MAX_HEAD_BYTES, 'it waits for more than the limit')
      return 'incomplete'
    }
    if (whole.kind === 'refused') return `${whole.code} ${whole.detail}`
    assert.equal(whole.kind, 'connect', 'served without being asked to forward')
    const authority = parseAuthority(whole.target)
    if (authority.kind === 'malformed') return `connect, ${authority.malformation}`
    const { target, version, host, userAgent, rest } = whole
    assert.deepEqual(
      await askNode(input),
      { method: 'CONNECT', target, version, host, userAgent, rest: rest.toString('latin1') },
      'Node reads another head',
    )
    return `connect ${authority.kind}, ${version}, ${host === undefined ? 'no host' : 'host'}`
  },
}

const NAMES = texts(
  'cgr.dev',
  'CGR.DEV',
  'x.apk.cgr.dev',
  'xn--gr-nmc.dev',
  '*.cgr.dev',
  '127.0.0.1',
  '1password.com',
  'a'.repeat(63),
)
const NAME_PARTS = texts(
  '.',
  '..',
  '-',
  '_',
  '*',
  '*.',
  ':',
  ':443',
  ':0443',
  '[',
  ']',
  '::1',
  '::ffff:',
  '%00',
  '%2e',
  '@',
  '/',
  '?',
  '\\',
  '0x7f',
  '\xe2\x80\xae',
  'xn--',
  'com',
  'co.uk',
  '65536',
  '.example.com'.repeat(22),
)

const authority: FuzzTarget = {
  name: 'authority',
  seeds: [
    ...NAMES,
    ...texts('cgr.dev:443', '[2001:db8::1]:443', '8.8.8.8:443', 'https://cgr.dev:443', 'a@cgr.dev:443'),
  ],
  dictionary: NAME_PARTS,
  check(input) {
    const target = input.toString('latin1')
    const result = parseAuthority(target)
    if (result.kind === 'malformed') return result.malformation
    const { host, port } = result
    assert.ok(Number.isInteger(port) && port >= 1 && port <= 65_535)
    const written = result.kind === 'ip' && result.family === 6 ? `[${host}]:${port}` : `${host}:${port}`
    assert.equal(written, target.toLowerCase(), 'something was forgiven')
    assert.deepEqual(parseAuthority(written), result, 'its own spelling means something else')
    if (result.kind === 'ip') assert.equal(isIP(host), result.family)
    else {
      assert.match(host, CANONICAL)
      assert.equal(isIP(host), 0)
      // A URL parser is how a later reader might see it: the same host, then, or none (it decodes xn-- labels).
      const url = `https://${host}/`
      if (URL.canParse(url)) assert.equal(new URL(url).hostname, host)
    }
    return result.kind
  },
}

const rules: FuzzTarget = {
  name: 'hostname-rules',
  seeds: NAMES,
  dictionary: NAME_PARTS,
  check(input) {
    const text = input.toString('utf8')
    const name = parseHostname(text)
    if (name.ok) {
      assert.match(name.hostname, CANONICAL)
      assert.deepEqual(parseHostname(name.hostname), name)
      assert.equal(name.hostname, text.toLowerCase())
    }
    const words = [name.ok ? 'name' : name.defect]
    for (const use of ['allow', 'deny'] as const) {
      const result = parseHostPattern(text, use)
      words.push(result.ok ? 'pattern' : result.problem.replaceAll(/`[^`]*`|[0-9]+/g, '…').slice(0, 40))
      if (!result.ok) {
        assert.ok(result.problem !== '' && result.advice !== '')
        continue
      }
      const written = formatHostPattern(result.pattern)
      const again = parseHostPattern(written, use)
      assert.ok(again.ok && formatHostPattern(again.pattern) === written)
      const apex = written.replace(/^\*\./, '')
      const wild = apex !== written
      assert.equal(
        matchesHost(result.pattern, apex),
        !wild,
        'a wildcard matches what is below its apex, and nothing else',
      )
      assert.equal(matchesHost(result.pattern, `x.${apex}`), wild)
      assert.ok(!matchesHost(result.pattern, `x${apex}`), 'a suffix without a dot')
      assert.ok(!matchesHost(result.pattern, `${apex}.evil.test`))
      // What may be allowed names a registrable domain at least.
      if (use === 'allow') assert.ok(apex.includes('.'), 'a single label')
    }
    return words.join(', ')
  },
}

const BOTH = [supportedVersions(0x1a1a, 0x0304, 0x0303), alpn('h2', 'http/1.1'), serverName('cgr.dev')]
const clientHello: FuzzTarget = {
  name: 'client-hello',
  seeds: [
    helloRecord(),
    helloRecord({ extensions: BOTH }),
    inRecords(buildHello({ extensions: BOTH }).message, 20),
    helloRecord({ extensions: null, version: 0x0300 }),
    helloRecord({ extensions: [] }),
  ],
  dictionary: [
    ...texts(
      '\x16\x03\x01',
      '\x16\x03\x03\0\x01',
      '\0\0',
      '\0\0\0\x0c\0\x0a\0\0\x07',
      '\xff\xff',
      '\0',
      'cgr.dev',
      'evil.test',
    ),
    Buffer.from('fe0d0004000001 01'.replace(' ', ''), 'hex'),
    Buffer.from('0a0a0000', 'hex'),
  ],
  async check(input) {
    const whole = parseHello([input])
    assert.deepEqual(parseHello(segments(input)), whole, 'the verdict depends on the segments')
    if (whole.kind === 'incomplete') {
      assert.ok(input.length <= MAX_HELLO_BYTES, 'it waits for more than the limit')
      return 'incomplete'
    }
    if (whole.kind === 'refused') return `${whole.code} ${whole.detail.replaceAll(/[0-9]+/g, 'n')}`
    assert.ok(whole.alpn.length <= 8 && whole.versions.length <= 8)
    if (whole.serverName !== undefined) assert.match(whole.serverName, CANONICAL)
    // The other reader takes one record only.
    const end = 5 + input.readUInt16BE(3)
    const other = await readByPackage(input.subarray(0, end))
    if (other.kind === 'read') assert.equal(other.serverName?.toLowerCase(), whole.serverName, 'another name')
    return `hello, ${whole.serverName === undefined ? 'no name' : 'name'}, ${whole.alpn.length}, ${whole.versions.length}`
  },
}

function parseHello(pieces: readonly Buffer[]): HelloResult {
  const parser = new ClientHelloParser()
  let pushed = 0
  for (const piece of pieces) {
    pushed += piece.length
    const result = parser.push(piece)
    assert.equal(parser.bytes.length, pushed, 'bytes are lost for the relay')
    if (result.kind !== 'incomplete') return result
  }
  return { kind: 'incomplete' }
}

const FIXTURES = fileURLToPath(new URL('../fixtures/config/', import.meta.url))
const DEFAULTS = fileURLToPath(new URL('../../config/sallyport.yaml', import.meta.url))
const presets = readBundledPresets()
const configuration: FuzzTarget = {
  name: 'configuration',
  seeds: [
    readFileSync(DEFAULTS),
    ...readdirSync(FIXTURES)
      .filter((file) => file.endsWith('.yaml'))
      .map((file) => readFileSync(join(FIXTURES, file))),
  ],
  dictionary: texts(
    '\n',
    '  ',
    '- ',
    ': ',
    '{}',
    '[]',
    'null',
    '~',
    '*a',
    '&a ',
    '!!js/function ',
    '<<: ',
    '---\n',
    '"',
    "'",
    '#',
    '\t',
    'policy:\n  allow:\n    - { host: ',
    'host: "*.com"',
    '__proto__: ',
    '1e999',
    '0x10',
    '10s',
    '-1s',
    '0.0.0.0/0',
    'sni: off',
    '\0',
    '\x80',
  ),
  check(input) {
    const text = input.toString('utf8')
    const result = loadConfig({ text, name: 'fuzz.yaml', presets, nowMs: Date.UTC(2026, 10, 24) })
    if (!result.ok) {
      assert.ok(result.issues.length > 0, 'refused without a word')
      for (const { line, column, message } of result.issues) {
        assert.ok((line ?? 0) >= 1 && (column ?? 0) >= 1 && message !== '', 'an issue without its place')
      }
      const [first] = result.issues
      return `refused: ${first?.message.replaceAll(/`[^`]*`|[0-9]+/g, '…').slice(0, 50)}`
    }
    const { config } = result
    assert.ok(Object.isFrozen(config))
    assert.ok(config.policy.allow.length > 0, 'nothing is allowed, and it starts')
    assert.ok(config.listen.length > 0)
    assert.ok(
      config.limits.headTimeoutMs > 0 && config.limits.helloTimeoutMs > 0 && config.limits.idleTimeoutMs > 0,
    )
    return `config, ${config.policy.mode}, ${config.policy.sni}, ${config.presets.length}`
  },
}

export const TARGETS: readonly FuzzTarget[] = [
  head,
  absoluteForm,
  proxyProtocol,
  authority,
  rules,
  clientHello,
  configuration,
]
