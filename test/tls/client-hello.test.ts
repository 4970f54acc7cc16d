import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { connect, type ConnectionOptions } from 'node:tls'
import fc from 'fast-check'
import { beforeAll, describe, expect, test } from 'vitest'
import {
  ClientHelloParser,
  MAX_HELLO_BYTES,
  parseClientHello,
  type HelloResult,
} from '../../src/tls/client-hello.ts'
import { within } from '../support/deadline.ts'
import {
  alpn,
  buildHello,
  helloRecord,
  inRecords,
  join,
  padding,
  raw,
  serverName,
  supportedVersions,
  uint16,
  vector,
  type HelloParts,
  type LengthField,
} from './hello-builder.ts'

/** What one parser says to the bytes, in these pieces. */
function parse(...chunks: readonly Buffer[]): HelloResult {
  const parser = new ClientHelloParser()
  let result: HelloResult = { kind: 'incomplete' }
  for (const chunk of chunks) {
    result = parser.push(chunk)
    if (result.kind !== 'incomplete') return result
  }
  return result
}

const refused = (code: string) => expect.objectContaining({ kind: 'refused', code })

/** What a client of node:tls sends on a real connection before it hears anything. */
async function capture(options: ConnectionOptions): Promise<Buffer> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('no port')
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const client = connect({ ...options, port: address.port, host: '127.0.0.1' })
  client.on('error', () => undefined)
  try {
    const socket = await within(accepted, 'a connection')
    const chunks: Buffer[] = []
    let bytes = Buffer.alloc(0)
    socket.on('error', () => undefined)
    for await (const chunk of socket) {
      chunks.push(chunk)
      bytes = Buffer.concat(chunks)
      if (bytes.length >= 5 && bytes.length >= 5 + bytes.readUInt16BE(3)) break
    }
    return bytes
  } finally {
    client.destroy()
    server.close()
  }
}

const LONG_NAME = `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(57)}.dev`

describe('what TLS clients send', () => {
  test.each<[string, ConnectionOptions, object]>([
    [
      'TLS 1.3 and 1.2',
      { servername: 'cgr.dev' },
      { serverName: 'cgr.dev', versions: ['1.3', '1.2'], alpn: [] },
    ],
    ['TLS 1.3 only', { servername: 'cgr.dev', minVersion: 'TLSv1.3' }, { versions: ['1.3'] }],
    [
      'TLS 1.2 only',
      { servername: 'cgr.dev', maxVersion: 'TLSv1.2' },
      { serverName: 'cgr.dev', versions: ['1.2'] },
    ],
    [
      'TLS 1.0 to 1.2',
      { servername: 'cgr.dev', minVersion: 'TLSv1', maxVersion: 'TLSv1.2', ciphers: 'DEFAULT@SECLEVEL=0' },
      { serverName: 'cgr.dev', versions: ['1.2'] },
    ],
    ['upper case', { servername: 'CGR.dev' }, { serverName: 'cgr.dev' }],
    [
      'HTTP/2 and HTTP/1.1',
      { servername: 'cgr.dev', ALPNProtocols: ['h2', 'http/1.1'] },
      { alpn: ['h2', 'http/1.1'] },
    ],
    ['the longest name', { servername: LONG_NAME }, { serverName: LONG_NAME }],
    ['a leading digit', { servername: '1password.com' }, { serverName: '1password.com' }],
    ['no server name', {}, { serverName: undefined }],
    [
      'a post-quantum key share',
      { servername: 'cgr.dev', ecdhCurve: 'X25519MLKEM768' },
      { serverName: 'cgr.dev', versions: ['1.3', '1.2'] },
    ],
  ])('%s', async (_what, options, expected) => {
    expect(parse(await capture(options))).toMatchObject({ kind: 'hello', ...expected })
  })
})

describe('one hello, however it is cut', () => {
  let hello: Buffer
  let message: Buffer
  let whole: HelloResult
  beforeAll(async () => {
    hello = await capture({ servername: 'cgr.dev', ecdhCurve: 'X25519MLKEM768', ALPNProtocols: ['h2'] })
    message = hello.subarray(5)
    whole = parse(hello)
  })

  test('whole, and larger than one segment of most networks', () => {
    expect(hello.length).toBeGreaterThan(1460)
    expect(whole).toMatchObject({ kind: 'hello', serverName: 'cgr.dev' })
  })

  test('in two segments at every offset', () => {
    for (let cut = 1; cut < hello.length; cut += 1) {
      const start = hello.subarray(0, cut)
      expect([cut, parse(start)]).toEqual([cut, { kind: 'incomplete' }])
      expect([cut, parse(start, hello.subarray(cut))]).toEqual([cut, whole])
    }
  })

  test('byte by byte', () => {
    expect(parse(...Array.from(hello, (byte) => Buffer.from([byte])))).toEqual(whole)
  })

  test('in two records at every offset', () => {
    for (let cut = 1; cut < message.length; cut += 1) {
      const records = Buffer.concat([inRecords(message.subarray(0, cut)), inRecords(message.subarray(cut))])
      expect([cut, parse(records)]).toEqual([cut, whole])
    }
  })

  test('in records of one byte, whole and byte by byte', () => {
    const records = inRecords(message, 1)
    expect(records.length).toBeLessThan(MAX_HELLO_BYTES)
    expect(parse(records)).toEqual(whole)
    expect(parse(...Array.from(records, (byte) => Buffer.from([byte])))).toEqual(whole)
  })

  test('in any records and any segments', () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 600 }), { minLength: 1, maxLength: 40 })
    const slice = (bytes: Buffer, lengths: readonly number[]): Buffer[] => {
      const pieces: Buffer[] = []
      let at = 0
      for (const length of lengths) {
        if (at >= bytes.length) break
        pieces.push(bytes.subarray(at, at + length))
        at += length
      }
      return at < bytes.length ? [...pieces, bytes.subarray(at)] : pieces
    }
    fc.assert(
      fc.property(sizes, sizes, (records, segments) => {
        const wire = Buffer.concat(slice(message, records).map((piece) => inRecords(piece)))
        expect(parse(...slice(wire, segments))).toEqual(whole)
      }),
      { numRuns: 200 },
    )
  })

  test('every byte is kept for the relay, those behind the hello too', () => {
    const parser = new ClientHelloParser()
    const early = Buffer.from('early data')
    parser.push(hello.subarray(0, 100))
    expect(parser.push(Buffer.concat([hello.subarray(100), early]))).toEqual(whole)
    expect(parser.bytes).toEqual(Buffer.concat([hello, early]))
  })

  test('a byte that changes on the way never throws, and never makes a name out of nothing', () => {
    for (let offset = 0; offset < hello.length; offset += 1) {
      for (const value of [0x00, 0x01, 0x7f, 0xff]) {
        const broken = Buffer.from(hello)
        broken[offset] = value
        const result = parse(broken)
        const name = result.kind === 'hello' ? result.serverName : undefined
        expect(name ?? 'none').toMatch(/^[a-z0-9.-]+$/)
      }
    }
  })

  test('bytes missing in the middle never throw', () => {
    fc.assert(
      fc.property(fc.nat(hello.length), fc.nat(64), fc.uint8Array({ maxLength: 16 }), (at, gone, instead) => {
        const broken = Buffer.concat([hello.subarray(0, at), Buffer.from(instead), hello.subarray(at + gone)])
        expect(['incomplete', 'hello', 'refused']).toContain(parse(broken).kind)
      }),
      { numRuns: 2000 },
    )
  })
})

test('no bytes at all make it throw', () => {
  const start = fc.constantFrom(
    Buffer.alloc(0),
    Buffer.from([22]),
    Buffer.from([22, 3, 1]),
    helloRecord().subarray(0, 9),
  )
  fc.assert(
    fc.property(start, fc.uint8Array({ maxLength: 300 }), (head, tail) => {
      const bytes = Buffer.concat([head, Buffer.from(tail)])
      const whole = parse(bytes)
      expect(['incomplete', 'hello', 'refused']).toContain(whole.kind)
      expect(parse(...Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(whole)
      expect(['hello', 'refused']).toContain(parseClientHello(bytes).kind)
    }),
    { numRuns: 3000 },
  )
})

describe('server names', () => {
  test.each<[string, HelloParts]>([
    ['no server_name extension', { extensions: [alpn('h2')] }],
    ['no extensions', { extensions: [] }],
    ['no extension block, as SSL 3.0', { version: 0x0300, extensions: null }],
  ])('absent: %s', (_what, parts) => {
    expect(parse(helloRecord(parts))).toMatchObject({ kind: 'hello', serverName: undefined })
  })

  test.each<[string, HelloParts['extensions']]>([
    ['a trailing dot', [serverName('cgr.dev.')]],
    ['an empty name', [serverName('')]],
    ['an empty list', [serverName()]],
    ['an empty extension, which is what servers send', [{ type: 0, data: raw() }]],
    ['a NUL inside, where a C string would end', [serverName('cgr.dev\0.evil.test')]],
    ['a NUL at the end', [serverName('cgr.dev\0')]],
    ['a space', [serverName('cgr .dev')]],
    ['a line break', [serverName('cgr.dev\r\n')]],
    ['UTF-8', [serverName(Buffer.from('сgr.dev'))]],
    ['bytes that are no UTF-8', [serverName(Buffer.from([0x63, 0xff, 0x72]))]],
    ['254 bytes', [serverName(`${'a.'.repeat(126)}aa`)]],
    ['16,000 bytes', [serverName('a'.repeat(16_000))]],
    ['a port', [serverName('cgr.dev:443')]],
    ['a wildcard', [serverName('*.cgr.dev')]],
    ['an IPv4 address', [serverName('140.82.114.4')]],
    ['a short form of one', [serverName('127.1')]],
    ['an IPv6 address', [serverName('::1')]],
    ['an IPv6 address in brackets', [serverName('[::1]')]],
    ['an underscore', [serverName('_x.cgr.dev')]],
    ['two names', [serverName('cgr.dev', 'evil.test')]],
    ['the same name twice', [serverName('cgr.dev', 'cgr.dev')]],
    ['two extensions', [serverName('cgr.dev'), serverName('evil.test')]],
    ['two extensions, the same name', [serverName('cgr.dev'), alpn('h2'), serverName('cgr.dev')]],
    ['another type of name', [serverName({ type: 1, name: 'cgr.dev' })]],
    ['a host name behind another type', [serverName({ type: 1, name: 'x' }, 'cgr.dev')]],
    ['bytes behind the list', [{ type: 0, data: join(serverName('cgr.dev').data, raw(0)) }]],
    [
      'bytes behind the name',
      [{ type: 0, data: vector('list', 2, join(raw(0), vector('name', 2, raw(0x61)), raw(0))) }],
    ],
  ])('unreadable: %s', (_what, extensions) => {
    expect(parse(helloRecord(extensions ? { extensions } : {}))).toEqual(refused('sni_malformed'))
  })

  test.each([
    ['in upper case', 'CGR.DEV', 'cgr.dev'],
    ['of 253 bytes', `${'a.'.repeat(126)}a`, `${'a.'.repeat(126)}a`],
    ['in punycode', 'xn--gr-nmc.dev', 'xn--gr-nmc.dev'],
  ])('readable: %s', (_what, sent, read) => {
    expect(parse(helloRecord({ extensions: [serverName(sent)] }))).toMatchObject({
      kind: 'hello',
      serverName: read,
    })
  })

  test('it is found behind noise, unknown extensions and an encrypted hello, whose outer name it is', () => {
    const extensions = [
      { type: 0x0a0a, data: raw() },
      { type: 0xfe0d, data: raw(Buffer.alloc(200, 5)) },
      supportedVersions(0x1a1a, 0x0304, 0x0303),
      alpn('h2', 'http/1.1'),
      serverName('cgr.dev'),
      padding(100),
    ]
    expect(parse(helloRecord({ extensions }))).toEqual({
      kind: 'hello',
      serverName: 'cgr.dev',
      alpn: ['h2', 'http/1.1'],
      versions: ['1.3', '1.2'],
    })
  })
})

describe('what else a hello offers is bounded, and no reason to refuse', () => {
  // A protocol whose length points behind the whole hello.
  const lyingAlpn = { type: 16, data: raw(0, 4, 2, 0x68, 0x32, 0xff) }

  test('a protocol list that points behind the hello hides no extension that follows', () => {
    const one = { extensions: [lyingAlpn, serverName('cgr.dev')] }
    expect(parse(helloRecord(one))).toMatchObject({ kind: 'hello', serverName: 'cgr.dev', alpn: ['h2'] })
    const two = { extensions: [serverName('cgr.dev'), lyingAlpn, serverName('evil.test')] }
    expect(parse(helloRecord(two))).toEqual(refused('sni_malformed'))
  })

  test.each<[string, HelloParts['extensions'], object]>([
    ['30 protocols', [serverName('cgr.dev'), alpn(...Array.from({ length: 30 }, (_, i) => `p${i}`))], {}],
    ['an empty protocol list', [serverName('cgr.dev'), { type: 16, data: raw() }], { alpn: [] }],
    ['a protocol list that ends early', [serverName('cgr.dev'), { type: 16, data: raw(0, 9, 2, 0x68) }], {}],
    [
      '100 versions',
      [serverName('cgr.dev'), supportedVersions(...Array.from({ length: 100 }, (_, i) => 0x0300 + i))],
      {},
    ],
    [
      'an odd version list',
      [serverName('cgr.dev'), { type: 43, data: raw(3, 3, 4, 3) }],
      { versions: ['1.3'] },
    ],
    ['a version of the future', [serverName('cgr.dev'), supportedVersions(0x0305)], { versions: ['0x0305'] }],
  ])('%s', (_what, extensions, expected) => {
    const result = parse(helloRecord(extensions ? { extensions } : {}))
    expect(result).toMatchObject({ kind: 'hello', serverName: 'cgr.dev', ...expected })
    if (result.kind !== 'hello') throw new Error('no hello')
    expect(result.alpn.length).toBeLessThanOrEqual(8)
    expect(result.versions.length).toBeLessThanOrEqual(8)
  })
})

describe('lengths that lie', () => {
  const built = buildHello({
    extensions: [supportedVersions(0x0304), serverName('cgr.dev'), alpn('h2', 'http/1.1')],
  })
  const TRUTHFUL: unknown = expect.objectContaining({ kind: 'hello', serverName: 'cgr.dev' })
  /** They are read for the record only, and what they say decides nothing. */
  const decidesNothing = new Set(['versions', 'protocol list', 'protocol name'])

  test('an honest one is fine', () => {
    expect(parse(inRecords(built.message))).toMatchObject({ kind: 'hello', serverName: 'cgr.dev' })
  })

  const fields = built.lengths.map((field) => [field.name, field.offset, field] as const)

  /** The verdict when this field says `length`. */
  function lying({ offset, width }: LengthField, length: number): HelloResult {
    const message = Buffer.from(built.message)
    message.writeUIntBE(length, offset, width)
    return parse(inRecords(message))
  }

  /** Those of the lengths that fit into the field and are not the truth. */
  function lies({ offset, width }: LengthField, lengths: readonly number[]): readonly number[] {
    const honest = built.message.readUIntBE(offset, width)
    return lengths.filter((length) => length !== honest && length >= 0 && length < 2 ** (8 * width))
  }

  test.each(fields)('%s (at %i) past the end, by one and by all', (name, _offset, field) => {
    const { offset, width } = field
    const left = built.message.length - offset - width
    const told = lies(field, [left + 1, 2 ** (8 * width) - 1])
    expect(told.length).toBeGreaterThan(0)
    for (const length of told) {
      expect([length, lying(field, length)]).toEqual([length, pastTheEnd(name, length)])
    }
  })

  function pastTheEnd(name: string, length: number): unknown {
    // More to come, or too much to wait for.
    if (name === 'handshake message') {
      return length > MAX_HELLO_BYTES ? refused('hello_too_large') : { kind: 'incomplete' }
    }
    return decidesNothing.has(name) ? TRUTHFUL : refused('sni_malformed')
  }

  test.each(fields)('%s (at %i) empty or off by one: never another name', (_name, _offset, field) => {
    const honest = built.message.readUIntBE(field.offset, field.width)
    for (const length of lies(field, [0, 1, honest - 1, honest + 1])) {
      const result = lying(field, length)
      expect([undefined, 'cgr.dev']).toContain(result.kind === 'hello' ? result.serverName : undefined)
    }
  })

  test('a message cut off at every offset and closed there is refused, or names nobody', () => {
    const body = built.message.subarray(4)
    const verdicts = Array.from(body, (_, length) => parseClientHello(body.subarray(0, length)))
    // Cut right before its extensions it is a hello of SSL 3.0.
    const hellos = verdicts.filter((result) => result.kind === 'hello')
    expect(hellos).toEqual([{ kind: 'hello', serverName: undefined, alpn: [], versions: ['1.2'] }])
    expect(verdicts.filter((result) => result.kind === 'refused')).toHaveLength(body.length - 1)
  })

  test.each<[string, HelloParts]>([
    ['a session id of 33 bytes', { sessionId: Buffer.alloc(33) }],
    ['no cipher suites', { suites: Buffer.alloc(0) }],
    ['half a cipher suite', { suites: Buffer.alloc(3) }],
    ['no compression method', { compression: Buffer.alloc(0) }],
  ])('%s', (_what, parts) => {
    expect(parse(helloRecord(parts))).toEqual(refused('sni_malformed'))
  })

  test('bytes behind the extensions, inside the message', () => {
    const { message } = buildHello()
    const longer = Buffer.concat([message, Buffer.from([0])])
    longer.writeUIntBE(message.length - 4 + 1, 1, 3)
    expect(parse(inRecords(longer))).toEqual(refused('sni_malformed'))
  })
})

describe('first bytes that are no TLS', () => {
  test.each([
    ['SSH', Buffer.from('SSH-2.0-OpenSSH_9.9\r\n')],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\nHost: cgr.dev\r\n\r\n')],
    ['the HTTP/2 preface', Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n')],
    ['a second CONNECT', Buffer.from('CONNECT evil.test:443 HTTP/1.1\r\n\r\n')],
    ['a line break', Buffer.from('\r\n')],
    ['a NUL', Buffer.from([0])],
    ['an SSL 2.0 hello', Buffer.from([0x80, 0x2e, 0x01, 0x03, 0x01])],
    ['a TLS alert', Buffer.from([21, 3, 1, 0, 2, 2, 40])],
    ['application data', Buffer.from([23, 3, 3, 0, 1, 0])],
    ['ChangeCipherSpec', Buffer.from([20, 3, 3, 0, 1, 1])],
    ['a heartbeat', Buffer.from([24, 3, 3, 0, 3, 1, 0x40, 0])],
    ['a handshake of DTLS', Buffer.from([22, 0xfe, 0xfd, 0, 0, 0, 0])],
    ['a record without bytes', Buffer.from([22, 3, 1, 0, 0])],
    ['a record of 0xffff', Buffer.from([22, 3, 1, 0xff, 0xff])],
    ['a record one byte too long', Buffer.from([22, 3, 1, 0x40, 0x01])],
    ['a ServerHello', inRecords(Buffer.from([2, 0, 0, 40, 3, 3]))],
    ['a HelloRequest', inRecords(Buffer.from([0, 0, 0, 0]))],
    [
      'an empty record behind the first',
      Buffer.concat([inRecords(Buffer.from([1])), Buffer.from([22, 3, 1, 0, 0])]),
    ],
    [
      'an alert behind half a hello',
      Buffer.concat([inRecords(helloRecord().subarray(5, 50)), Buffer.from([21, 3, 1, 0, 2, 1, 0])]),
    ],
  ])('%s', (_what, bytes) => {
    expect(parse(bytes)).toEqual(refused('not_tls'))
    expect(parse(...Array.from(bytes, (byte) => Buffer.from([byte])))).toEqual(refused('not_tls'))
  })

  test('it is said at the first byte that shows it, without waiting for more', () => {
    expect(parse(Buffer.from('S'))).toEqual(refused('not_tls'))
    expect(parse(Buffer.from([22, 2]))).toEqual(refused('not_tls'))
    expect(parse(inRecords(Buffer.from([2])))).toEqual(refused('not_tls'))
  })

  test.each([
    ['nothing yet', Buffer.alloc(0)],
    ['the first byte', Buffer.from([22])],
    ['a record header', Buffer.from([22, 3, 1, 1, 0])],
    ['a message header', inRecords(Buffer.from([1, 0, 1, 0]))],
  ])('%s may still become a hello', (_what, bytes) => {
    expect(parse(bytes)).toEqual({ kind: 'incomplete' })
  })
})

describe('size', () => {
  const overhead = helloRecord({ extensions: [serverName('cgr.dev'), padding(0)] }).length
  const ofSize = (bytes: number): Buffer =>
    helloRecord({ extensions: [serverName('cgr.dev'), padding(bytes - overhead)] })

  test.each([1800, 2100, 4096, MAX_HELLO_BYTES - 1, MAX_HELLO_BYTES])('%i bytes pass', (bytes) => {
    expect(ofSize(bytes)).toHaveLength(bytes)
    expect(parse(ofSize(bytes))).toMatchObject({ kind: 'hello', serverName: 'cgr.dev' })
  })

  test('one byte more is too large, and is refused before it has arrived', () => {
    const hello = ofSize(MAX_HELLO_BYTES + 1)
    expect(parse(hello)).toEqual(refused('hello_too_large'))
    expect(parse(hello.subarray(0, 5))).toEqual(refused('hello_too_large'))
  })

  test('record headers count: many small records of a hello that would fit are too many', () => {
    const { message } = buildHello({ extensions: [serverName('cgr.dev'), padding(4000)] })
    const records = inRecords(message, 1)
    expect(records.length).toBeGreaterThan(MAX_HELLO_BYTES)
    expect(parse(records)).toEqual(refused('hello_too_large'))
  })

  test.each([0xff_ffff, 0x01_0000, MAX_HELLO_BYTES + 1])('a message that announces %i bytes', (length) => {
    const header = Buffer.from([1, length >> 16, (length >> 8) & 0xff, length & 0xff])
    expect(parse(inRecords(header))).toEqual(refused('hello_too_large'))
  })

  test('a trickle that never ends is cut off at the limit', () => {
    const parser = new ClientHelloParser()
    parser.push(inRecords(Buffer.from([1, 0, 0x3f, 0xff])))
    let result: HelloResult = { kind: 'incomplete' }
    for (let sent = 0; sent < 2 * MAX_HELLO_BYTES && result.kind === 'incomplete'; sent += 6) {
      result = parser.push(inRecords(Buffer.from([0])))
    }
    expect(result).toEqual(refused('hello_too_large'))
    expect(parser.bytes.length).toBeLessThan(MAX_HELLO_BYTES + 100)
  })
})

test('the versions of a hello without supported_versions are the one in its head', () => {
  for (const [number, name] of [
    [0x0300, 'ssl3.0'],
    [0x0301, '1.0'],
    [0x0302, '1.1'],
    [0x0303, '1.2'],
  ] as const) {
    expect(parse(helloRecord({ version: number }))).toMatchObject({ versions: [name] })
  }
  expect(uint16(0x0304).bytes).toEqual(Buffer.from([3, 4]))
})
