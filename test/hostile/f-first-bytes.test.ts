/**
 * Table F: the first bytes in the tunnel. The CONNECT is allowed and answered with 200; what follows is read before a
 * byte goes upstream, and the only answers left are a fatal TLS alert and a close.
 */
import { createServer, connect as connectTls, type TLSSocket } from 'node:tls'
import { once } from 'node:events'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { TestGate } from '../support/gate.ts'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { DivertedWire } from '../support/diverted-wire.ts'
import {
  connectRequest,
  expectServed,
  expectThrough,
  openLab,
  type Lab,
  type LabSettings,
} from '../support/lab.ts'
import type { RawClient } from '../support/raw-client.ts'
import { testWire } from '../support/test-wire.ts'
import {
  alpn,
  buildHello,
  helloRecord,
  inRecords,
  padding,
  raw,
  serverName,
  supportedVersions,
  type Extension,
} from '../tls/hello-builder.ts'

/** Descriptions of RFC 8446 section 6, written out: the registry in `src/` is what is under test. */
const ALERT = {
  sni_mismatch: 112,
  sni_missing: 109,
  sni_malformed: 50,
  not_tls: 10,
  hello_timeout: 40,
  hello_too_large: 50,
} as const
type Code = keyof typeof ALERT

const REQUEST = connectRequest('cgr.dev:443')
/** Long enough for the honest hello that follows, on a busy machine too. */
const SHORT_HELLO: LabSettings = { limits: { helloTimeout: '600ms' } }

/** An allowed CONNECT that has its 200; the next bytes are the tunnel's. */
async function opened(lab: Lab, gate: TestGate): Promise<RawClient> {
  const client = await lab.client(gate)
  await client.send(REQUEST)
  expect((await client.reply()).statusLine).toBe('HTTP/1.1 200 Connection established')
  return client
}

/** One fatal alert, a FIN, one record, nothing upstream, and the next one is served. */
async function expectAlert(lab: Lab, gate: TestGate, client: RawClient, code: Code) {
  expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, ALERT[code]])
  expect(await client.ended()).toBe('fin')
  const [record, ...more] = await gate.audit.waitForDecisions(1)
  expect(more).toEqual([])
  expect(record?.event).toMatchObject({ action: 'tunnel-denied', reason: code })
  expect(record?.destination).toMatchObject({ domain: 'cgr.dev', port: 443 })
  await until(() => gate.parts.gate.connections === 0, 'its place to become free')
  await expectServed(lab, gate)
  expect((await gate.audit.waitForDecisions(2)).map(({ event }) => event.reason)).toEqual([code, 'allowed'])
  expect(lab.upstream.received[0]).toEqual(Buffer.alloc(0))
  return record?.event.reason
}

interface Attack {
  readonly id: string
  readonly attack: string
  readonly code: Code
  readonly bytes: Buffer | (() => Promise<Buffer>)
  readonly settings?: LabSettings
}

const named = (...entries: readonly (string | Buffer | { type: number; name: string })[]): Buffer =>
  helloRecord({ extensions: [serverName(...entries)] })
const withExtensions = (...extensions: readonly Extension[]): Buffer => helloRecord({ extensions })
/** encrypted_client_hello (RFC 9849 section 5) of the outer kind, with bytes that nobody here can read. */
const ech: Extension = {
  type: 0xfe0d,
  data: raw(0, 0, 1, 0, 1, 42, 0, 32, Buffer.alloc(32, 1), 0, 208, Buffer.alloc(208, 2)),
}

describe('refused with a fatal alert', () => {
  test.for<Attack>([
    { id: 'F2', attack: 'another server name', code: 'sni_mismatch', bytes: () => clientHello('evil.test') },
    {
      id: 'F2',
      attack: 'the other allowed host',
      code: 'sni_mismatch',
      bytes: () => clientHello('registry.npmjs.org'),
    },
    {
      id: 'F2',
      attack: 'a name below the host',
      code: 'sni_mismatch',
      bytes: () => clientHello('x.cgr.dev'),
    },
    {
      id: 'F2',
      attack: 'a name that ends like the host',
      code: 'sni_mismatch',
      bytes: () => clientHello('evilcgr.dev'),
    },
    { id: 'F3', attack: 'no server name', code: 'sni_missing', bytes: () => clientHello() },
    { id: 'F3', attack: 'no extension block', code: 'sni_missing', bytes: helloRecord({ extensions: null }) },
    {
      id: 'F3',
      attack: 'an empty extension block',
      code: 'sni_missing',
      bytes: helloRecord({ extensions: [] }),
    },
    {
      id: 'F3',
      attack: 'a hello of SSL 3.0',
      code: 'sni_missing',
      bytes: helloRecord({ version: 0x0300, extensions: null }),
    },
    { id: 'F4', attack: 'a trailing dot', code: 'sni_malformed', bytes: named('cgr.dev.') },
    { id: 'F4', attack: 'an empty name', code: 'sni_malformed', bytes: named('') },
    { id: 'F4', attack: '254 bytes', code: 'sni_malformed', bytes: named(`${'a.'.repeat(125)}cgrx`) },
    { id: 'F4', attack: 'a space', code: 'sni_malformed', bytes: named('cgr.dev ') },
    { id: 'F4', attack: 'UTF-8', code: 'sni_malformed', bytes: named(Buffer.from('сgr.dev')) },
    { id: 'F4', attack: 'a NUL', code: 'sni_malformed', bytes: named('cgr.dev\0.evil.test') },
    { id: 'F4', attack: 'a NUL at the end', code: 'sni_malformed', bytes: named('cgr.dev\0') },
    { id: 'F5', attack: 'an IPv4 literal', code: 'sni_malformed', bytes: named('8.8.8.8') },
    { id: 'F5', attack: 'an IPv6 literal', code: 'sni_malformed', bytes: named('2001:4860:4860::8888') },
    {
      id: 'F5',
      attack: 'two names, ours first',
      code: 'sni_malformed',
      bytes: named('cgr.dev', 'evil.test'),
    },
    { id: 'F5', attack: 'the same name twice', code: 'sni_malformed', bytes: named('cgr.dev', 'cgr.dev') },
    {
      id: 'F5',
      attack: 'a name of another type first',
      code: 'sni_malformed',
      bytes: named({ type: 1, name: 'evil.test' }, 'cgr.dev'),
    },
    {
      id: 'F5',
      attack: 'two server_name extensions',
      code: 'sni_malformed',
      bytes: withExtensions(serverName('cgr.dev'), supportedVersions(0x0304), serverName('evil.test')),
    },
    {
      id: 'F7',
      attack: 'no server name, over many records: never "absent, so pass"',
      code: 'sni_missing',
      bytes: async () => inRecords((await clientHello()).subarray(5), 7),
    },
    {
      id: 'F7',
      attack: 'another server name, over many records',
      code: 'sni_mismatch',
      bytes: async () => inRecords((await clientHello('evil.test')).subarray(5), 11),
    },
    {
      id: 'F10',
      attack: 'an encrypted hello whose outer name is another',
      code: 'sni_mismatch',
      bytes: withExtensions(ech, serverName('cloudflare-ech.com'), supportedVersions(0x0304)),
    },
    {
      id: 'F10',
      attack: 'an encrypted hello without an outer name',
      code: 'sni_missing',
      bytes: withExtensions(ech, supportedVersions(0x0304)),
    },
    { id: 'F11', attack: 'a record of length 0', code: 'not_tls', bytes: Buffer.from([22, 3, 1, 0, 0]) },
    {
      id: 'F11',
      attack: 'a record of length 0xFFFF',
      code: 'not_tls',
      bytes: Buffer.from([22, 3, 1, 0xff, 0xff]),
    },
    {
      id: 'F11',
      attack: 'a message of 2^24-1 bytes',
      code: 'hello_too_large',
      bytes: inRecords(Buffer.from([1, 0xff, 0xff, 0xff])),
    },
    {
      id: 'F11',
      attack: 'records of one byte, 16 KiB of them',
      code: 'hello_too_large',
      bytes: inRecords(buildHello({ extensions: [serverName('cgr.dev'), padding(4000)] }).message, 1),
    },
    {
      id: 'F11',
      attack: 'the header of a message of 16 KiB, and then nothing',
      code: 'hello_timeout',
      bytes: inRecords(Buffer.from([1, 0, 0x3f, 0xf0])),
      settings: SHORT_HELLO,
    },
    { id: 'F13', attack: 'SSH', code: 'not_tls', bytes: Buffer.from('SSH-2.0-x\r\n') },
    {
      id: 'F13',
      attack: 'HTTP',
      code: 'not_tls',
      bytes: Buffer.from('GET / HTTP/1.1\r\nHost: cgr.dev\r\n\r\n'),
    },
    {
      id: 'F13',
      attack: 'the HTTP/2 preface',
      code: 'not_tls',
      bytes: Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
    },
    { id: 'F13', attack: 'a second CONNECT', code: 'not_tls', bytes: Buffer.from(REQUEST) },
    { id: 'F14', attack: 'an alert', code: 'not_tls', bytes: Buffer.from([0x15, 3, 3, 0, 2, 1, 0]) },
    { id: 'F14', attack: 'application data', code: 'not_tls', bytes: Buffer.from([0x17, 3, 3, 0, 1, 0]) },
    { id: 'F14', attack: 'ChangeCipherSpec', code: 'not_tls', bytes: Buffer.from([0x14, 3, 3, 0, 1, 1]) },
    {
      id: 'F14',
      attack: 'a ServerHello',
      code: 'not_tls',
      bytes: inRecords(Buffer.from([2, 0, 0, 40, 3, 3])),
    },
    {
      id: 'F15',
      attack: 'silence after the 200',
      code: 'hello_timeout',
      bytes: Buffer.alloc(0),
      settings: SHORT_HELLO,
    },
  ])('$id $attack: $code', async ({ bytes, code, settings }) => {
    const lab = await openLab()
    const gate = await lab.gate(settings)
    const client = await opened(lab, gate)
    const attack = typeof bytes === 'function' ? await bytes() : bytes
    if (attack.length > 0) await client.send(attack)
    expect(await expectAlert(lab, gate, client, code)).toBe(code)
  })

  test('F11 a hello that trickles for longer than helloTimeout', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { helloTimeout: '600ms' } })
    const hello = await clientHello('cgr.dev')
    const client = await opened(lab, gate)
    let at = 0
    const trickle = setInterval(() => {
      client.socket.write(hello.subarray(at, at + 1))
      at += 1
    }, 25)
    try {
      expect(await expectAlert(lab, gate, client, 'hello_timeout')).toBe('hello_timeout')
    } finally {
      clearInterval(trickle)
    }
  })

  const built = buildHello({ extensions: [supportedVersions(0x0304), serverName('cgr.dev')] })
  // `versions` is read for the record alone, and decides nothing.
  const lying = built.lengths.filter(({ name }) => name !== 'versions')

  test.for(
    lying.flatMap((field) => {
      const most = 2 ** (8 * field.width) - 1
      const left = built.message.length - field.offset - field.width
      // A message that says one byte more is a hello whose end has not come yet.
      const by = field.name === 'handshake message' ? [most] : [left + 1, most]
      return by.map((length) => ({ name: field.name, field, length }))
    }),
  )('F12 the length of $name says $length', async ({ name, field, length }) => {
    const lab = await openLab()
    const gate = await lab.gate()
    const message = Buffer.from(built.message)
    message.writeUIntBE(length, field.offset, field.width)
    const client = await opened(lab, gate)
    await client.send(inRecords(message))
    const code = name === 'handshake message' ? 'hello_too_large' : 'sni_malformed'
    expect(await expectAlert(lab, gate, client, code)).toBe(code)
  })
})

describe('passed on as it came', () => {
  const FOLLOWS = Buffer.from('and what follows')

  /** The hello comes back from the upstream byte for byte, and what follows it, too. */
  async function expectPassed(lab: Lab, gate: TestGate, segments: readonly Buffer[]): Promise<void> {
    const client = await opened(lab, gate)
    const all = Buffer.concat(segments)
    await client.send(...segments)
    expect((await client.bytes(all.length)).equals(all)).toBe(true)
    await expectThrough(client, FOLLOWS)
    client.finish()
    expect(await client.ended()).toBe('fin')
  }

  /** It passes, and leaves one opening and one closing record; how many bytes went up by that one. */
  async function passedBytes(segments: readonly Buffer[]): Promise<unknown> {
    const lab = await openLab()
    const gate = await lab.gate()
    await expectPassed(lab, gate, segments)
    const decisions = await gate.audit.waitForDecisions(1)
    expect(decisions.map(({ event }) => event.reason)).toEqual(['allowed'])
    const [closing] = await gate.audit.waitForClosings(1)
    expect(lab.upstream.connections).toBe(1)
    return closing?.source?.['bytes']
  }

  const grease = (type: number): Extension => ({ type, data: raw(0) })

  test.for<{ id: string; what: string; bytes: () => Buffer | Promise<Buffer> }>([
    { id: 'F1', what: 'the server name', bytes: () => clientHello('cgr.dev') },
    { id: 'F1', what: 'the server name in upper case', bytes: () => named('CGR.dev') },
    {
      id: 'F8',
      what: 'a post-quantum hello',
      bytes: () => clientHello('cgr.dev', { ecdhCurve: 'X25519MLKEM768' }),
    },
    { id: 'F8', what: '15 KiB', bytes: () => withExtensions(serverName('cgr.dev'), padding(15_000)) },
    {
      id: 'F9',
      what: 'GREASE in every list, and GREASE ECH',
      bytes: () =>
        withExtensions(
          grease(0x0a0a),
          ech,
          supportedVersions(0x1a1a, 0x0304, 0x0303),
          alpn('h2', 'http/1.1'),
          serverName('cgr.dev'),
          grease(0xfafa),
        ),
    },
    {
      id: 'F9',
      what: 'an encrypted hello whose outer name is the host',
      bytes: () => withExtensions(serverName('cgr.dev'), ech),
    },
  ])('$id $what', async ({ bytes }) => {
    const hello = await bytes()
    expect(await passedBytes([hello])).toBe(hello.length + FOLLOWS.length)
  })

  test('F8 a post-quantum hello is larger than one segment of most networks', async () => {
    const hello = await clientHello('cgr.dev', { ecdhCurve: 'X25519MLKEM768' })
    expect(hello.length).toBeGreaterThan(1460)
    const bytes = await passedBytes([hello.subarray(0, 1400), hello.subarray(1400)])
    expect(bytes).toBe(hello.length + FOLLOWS.length)
  })

  test('F6 one byte in each segment', async () => {
    const hello = await clientHello('cgr.dev')
    const bytes = await passedBytes(Array.from(hello, (byte) => Buffer.of(byte)))
    expect(bytes).toBe(hello.length + FOLLOWS.length)
  })

  test('F6 cut in two at each offset', { timeout: 60_000 }, async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const hello = helloRecord({ extensions: [supportedVersions(0x0304), serverName('cgr.dev')] })
    const cuts = Array.from({ length: hello.length - 1 }, (_, index) => index + 1)
    for (let from = 0; from < cuts.length; from += 24) {
      const some = cuts.slice(from, from + 24)
      await Promise.all(
        some.map((cut) => expectPassed(lab, gate, [hello.subarray(0, cut), hello.subarray(cut)])),
      )
    }
    const decisions = await gate.audit.waitForDecisions(cuts.length)
    expect(decisions.filter(({ event }) => event.reason !== 'allowed')).toEqual([])
    expect(decisions).toHaveLength(cuts.length)
  })

  const { message } = buildHello({ extensions: [supportedVersions(0x0304), serverName('cgr.dev')] })
  test.for([
    { what: 'cut at 30', records: [message.subarray(0, 30), message.subarray(30)] },
    { what: 'cut before the last byte', records: [message.subarray(0, -1), message.subarray(-1)] },
    { what: 'cut inside the message header', records: [message.subarray(0, 2), message.subarray(2)] },
    { what: 'records of one byte', records: Array.from(message, (byte) => Buffer.of(byte)) },
  ])('F7 two records or more: $what', async ({ records }) => {
    const segments = records.map((record) => inRecords(record))
    const whole = Buffer.concat(segments)
    expect(await passedBytes(segments)).toBe(whole.length + FOLLOWS.length)
    expect(await passedBytes([whole])).toBe(whole.length + FOLLOWS.length)
  })
})

test('F16 the right server name and another Host inside TLS pass: a documented limit', async () => {
  // Keys that both sides know, so that no certificate is needed.
  const psk = Buffer.alloc(32, 5)
  const tls = { minVersion: 'TLSv1.2', maxVersion: 'TLSv1.2', ciphers: 'PSK-AES128-GCM-SHA256' } as const
  const server = createServer({ ...tls, pskCallback: () => psk }, (socket: TLSSocket) => {
    socket.on('data', (request: Buffer) => socket.end(`${socket.servername || '-'}: ${request.toString()}`))
    socket.on('error', () => undefined)
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const bound = server.address()
  const lab = await openLab()
  const wire = new DivertedWire(await testWire(), typeof bound === 'object' ? (bound?.port ?? 0) : 0)
  const gate = await lab.gate(undefined, { wire })
  const client = await opened(lab, gate)
  client.socket.removeAllListeners('data')
  const inside = connectTls({
    ...tls,
    socket: client.socket,
    servername: 'cgr.dev',
    pskCallback: () => ({ psk, identity: 'lab' }),
    checkServerIdentity: () => undefined,
  })
  let answer = ''
  inside.setEncoding('utf8').on('data', (text: string) => {
    answer += text
  })
  inside.write('GET / HTTP/1.1\r\nHost: evil.test\r\n\r\n')
  await within(once(inside, 'end'), 'the answer through TLS')
  inside.end()
  expect(answer).toContain('Host: evil.test')
  const decisions = await gate.audit.waitForDecisions(1)
  expect(decisions.map(({ event }) => event.reason)).toEqual(['allowed'])
  expect(JSON.stringify(gate.audit.records)).not.toContain('evil.test')
})
