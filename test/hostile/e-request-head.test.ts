/** Table E: the request head, byte by byte, and what comes with it or right behind it. */
import { describe, expect, test } from 'vitest'
import { MAX_FIELDS, MAX_HEAD_BYTES } from '../../src/proxy/head.ts'
import { PortableConnection } from '../../src/wire/portable/connection.ts'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { addresses, after, NODATA } from '../support/dns-scripts.ts'
import { connectRequest, expectThrough, openLab, PUBLIC } from '../support/lab.ts'
import { settle } from '../support/manual-clock.ts'
import {
  bodyOf,
  expectNextServed,
  expectOneDecision,
  expectRefused,
  expectReply,
  type Verdict,
} from './verdict.ts'

const MALFORMED: Verdict = { status: 400, code: 'malformed_request' }
const NOT_CONNECT: Verdict = { status: 405, code: 'method_not_allowed' }
const TOO_LARGE: Verdict = { status: 431, code: 'head_too_large' }
const MISMATCH: Verdict = { status: 400, code: 'host_mismatch' }
const NOT_ALLOWED: Verdict = { status: 403, code: 'host_not_allowed' }
const ALLOWED: Verdict = { status: 200, code: 'allowed' }
const REQUEST = connectRequest('cgr.dev:443')
/** A tunnel without the check of its first bytes, where they are not what the row is about. */
const SNI_OFF = { policy: { sni: 'off' } }

/** An allowed CONNECT with these lines between its Host and its end. */
const withLines = (...lines: readonly string[]): string =>
  ['CONNECT cgr.dev:443 HTTP/1.1', 'Host: cgr.dev:443', ...lines, '', ''].join('\r\n')

/** An allowed CONNECT whose head has this many bytes. */
function headOf(bytes: number): string {
  const head = withLines('X: ')
  return head.replace('X: ', `X: ${'x'.repeat(bytes - head.length)}`)
}

interface Row {
  readonly id: string
  readonly attack: string
  readonly bytes: string
  readonly verdict: Verdict
}

describe('refused', () => {
  test.for<Row>([
    // HTTP methods are case-sensitive, so `connect` is another method, and that is what the client is told.
    { id: 'E1', attack: 'connect', bytes: REQUEST.replace('CONNECT', 'connect'), verdict: NOT_CONNECT },
    { id: 'E1', attack: 'Connect', bytes: REQUEST.replace('CONNECT', 'Connect'), verdict: NOT_CONNECT },
    {
      id: 'E2',
      attack: 'OPTIONS *',
      bytes: 'OPTIONS * HTTP/1.1\r\nHost: cgr.dev\r\n\r\n',
      verdict: NOT_CONNECT,
    },
    {
      id: 'E2',
      attack: 'POST / and a body',
      bytes: 'POST / HTTP/1.1\r\nHost: cgr.dev\r\nContent-Length: 5\r\n\r\nhello',
      verdict: NOT_CONNECT,
    },
    {
      id: 'E2',
      attack: 'GET with Connection: keep-alive and a second request',
      bytes: `GET / HTTP/1.1\r\nHost: cgr.dev\r\nConnection: keep-alive\r\n\r\n${REQUEST}`,
      verdict: NOT_CONNECT,
    },
    { id: 'E3', attack: 'HTTP/0.9', bytes: 'CONNECT cgr.dev:443\r\n\r\n', verdict: MALFORMED },
    { id: 'E3', attack: 'HTTP/0.9 with LF', bytes: 'CONNECT cgr.dev:443\n\n', verdict: MALFORMED },
    { id: 'E3', attack: 'no CONNECT, no version', bytes: 'GET /\r\n\r\n', verdict: MALFORMED },
    { id: 'E4', attack: 'HTTP/2.0', bytes: REQUEST.replace('/1.1', '/2.0'), verdict: MALFORMED },
    { id: 'E4', attack: 'HTTP/5.6', bytes: REQUEST.replace('/1.1', '/5.6'), verdict: MALFORMED },
    { id: 'E4', attack: 'HTTP/1.2', bytes: REQUEST.replace('/1.1', '/1.2'), verdict: MALFORMED },
    { id: 'E4', attack: 'HTTP/1.10', bytes: REQUEST.replace('/1.1', '/1.10'), verdict: MALFORMED },
    { id: 'E4', attack: 'http/1.1', bytes: REQUEST.replace('HTTP', 'http'), verdict: MALFORMED },
    {
      id: 'E6',
      attack: 'the preface of HTTP/2',
      bytes: 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
      verdict: NOT_CONNECT,
    },
    { id: 'E7', attack: 'no Host', bytes: 'CONNECT cgr.dev:443 HTTP/1.1\r\n\r\n', verdict: MALFORMED },
    {
      id: 'E8',
      attack: 'another Host',
      bytes: connectRequest('cgr.dev:443', 'evil.test:443'),
      verdict: MISMATCH,
    },
    // A Host that names another port is another destination.
    {
      id: 'E8',
      attack: 'another port',
      bytes: connectRequest('cgr.dev:443', 'cgr.dev:80'),
      verdict: MISMATCH,
    },
    { id: 'E8', attack: 'an empty Host', bytes: connectRequest('cgr.dev:443', ''), verdict: MISMATCH },
    {
      id: 'E8',
      attack: 'a trailing dot',
      bytes: connectRequest('cgr.dev:443', 'cgr.dev.:443'),
      verdict: MISMATCH,
    },
    {
      id: 'E8',
      attack: 'a list of Hosts',
      bytes: connectRequest('cgr.dev:443', 'cgr.dev, evil.test'),
      verdict: MISMATCH,
    },
    {
      id: 'E8',
      attack: 'userinfo in Host',
      bytes: connectRequest('cgr.dev:443', 'x@cgr.dev:443'),
      verdict: MISMATCH,
    },
    {
      id: 'E8',
      attack: 'a denied target behind an allowed Host',
      bytes: connectRequest('evil.test:443', 'cgr.dev:443'),
      verdict: MISMATCH,
    },
    {
      id: 'E8',
      attack: 'the same in HTTP/1.0',
      bytes: connectRequest('evil.test:443', 'cgr.dev:443').replace('/1.1', '/1.0'),
      verdict: MISMATCH,
    },
    { id: 'E9', attack: 'the same Host twice', bytes: withLines('Host: cgr.dev:443'), verdict: MALFORMED },
    { id: 'E9', attack: 'a second, other Host', bytes: withLines('Host: evil.test:443'), verdict: MALFORMED },
    {
      id: 'E9',
      attack: 'a second Host in lower case',
      bytes: withLines('host: evil.test'),
      verdict: MALFORMED,
    },
    {
      id: 'E9',
      attack: 'two Hosts in HTTP/1.0',
      bytes: withLines('Host: cgr.dev:443').replace('/1.1', '/1.0'),
      verdict: MALFORMED,
    },
    { id: 'E10', attack: 'bare LF everywhere', bytes: REQUEST.replaceAll('\r\n', '\n'), verdict: MALFORMED },
    {
      id: 'E10',
      attack: 'bare LF after the request line',
      bytes: REQUEST.replace('\r\n', '\n'),
      verdict: MALFORMED,
    },
    { id: 'E10', attack: 'bare LF at the end', bytes: REQUEST.replace(/\r\n$/, '\n'), verdict: MALFORMED },
    {
      id: 'E10',
      attack: 'bare CR everywhere',
      bytes: `${REQUEST.replaceAll('\r\n', '\r')}x`,
      verdict: MALFORMED,
    },
    {
      id: 'E10',
      attack: 'bare CR in a value',
      bytes: withLines('X: a\rHost: evil.test'),
      verdict: MALFORMED,
    },
    { id: 'E10', attack: 'CR CR LF', bytes: REQUEST.replace('\r\n', '\r\r\n'), verdict: MALFORMED },
    { id: 'E10', attack: 'a CRLF in front', bytes: `\r\n${REQUEST}`, verdict: MALFORMED },
    { id: 'E10', attack: 'two spaces', bytes: REQUEST.replace(' HTTP', '  HTTP'), verdict: MALFORMED },
    { id: 'E10', attack: 'a tab for a space', bytes: REQUEST.replace(' HTTP', '\tHTTP'), verdict: MALFORMED },
    { id: 'E10', attack: 'a folded line', bytes: withLines('X: a', ' b'), verdict: MALFORMED },
    {
      id: 'E10',
      attack: 'a folded line with a colon',
      bytes: withLines('X: a', '\tHost: evil.test'),
      verdict: MALFORMED,
    },
    { id: 'E11', attack: 'NUL in a name', bytes: withLines('X\0: a'), verdict: MALFORMED },
    { id: 'E11', attack: 'NUL in a value', bytes: withLines('X: a\0b'), verdict: MALFORMED },
    { id: 'E11', attack: '0x01 in a name', bytes: withLines('X\x01: a'), verdict: MALFORMED },
    { id: 'E11', attack: '0x01 in a value', bytes: withLines('X: a\x01b'), verdict: MALFORMED },
    { id: 'E11', attack: 'DEL in a value', bytes: withLines('X: a\x7fb'), verdict: MALFORMED },
    { id: 'E11', attack: 'an empty name', bytes: withLines(': a'), verdict: MALFORMED },
    { id: 'E11', attack: 'no colon', bytes: withLines('X'), verdict: MALFORMED },
    { id: 'E11', attack: 'a space before the colon', bytes: withLines('X : a'), verdict: MALFORMED },
    { id: 'E11', attack: 'a name beyond ASCII', bytes: withLines('\u00dc: a'), verdict: MALFORMED },
    { id: 'E12', attack: 'a body', bytes: `${withLines('Content-Length: 5')}hello`, verdict: MALFORMED },
    { id: 'E12', attack: 'a body to come', bytes: withLines('content-length: 1'), verdict: MALFORMED },
    {
      id: 'E13',
      attack: 'chunks',
      bytes: `${withLines('Transfer-Encoding: chunked')}0\r\n\r\n`,
      verdict: MALFORMED,
    },
    { id: 'E13', attack: 'identity', bytes: withLines('Transfer-Encoding: identity'), verdict: MALFORMED },
    {
      id: 'E13',
      attack: 'both framings',
      bytes: withLines('Content-Length: 0', 'Transfer-Encoding: chunked'),
      verdict: MALFORMED,
    },
    {
      id: 'E13',
      attack: 'two lengths',
      bytes: withLines('Content-Length: 0', 'Content-Length: 5'),
      verdict: MALFORMED,
    },
    {
      id: 'E13',
      attack: 'two equal lengths',
      bytes: withLines('Content-Length: 0', 'Content-Length: 0'),
      verdict: MALFORMED,
    },
    {
      id: 'E13',
      attack: 'a length with a space',
      bytes: withLines('Content-Length: 1 2'),
      verdict: MALFORMED,
    },
    { id: 'E13', attack: 'an empty length', bytes: withLines('Content-Length:'), verdict: MALFORMED },
    { id: 'E13', attack: 'a list of lengths', bytes: withLines('Content-Length: 0, 0'), verdict: MALFORMED },
    { id: 'E13', attack: 'a signed length', bytes: withLines('Content-Length: +0'), verdict: MALFORMED },
    { id: 'E18', attack: 'a head of 16 KiB + 1', bytes: headOf(MAX_HEAD_BYTES + 1), verdict: TOO_LARGE },
    {
      id: 'E18',
      attack: 'a target of 70 KiB',
      bytes: connectRequest(`${'x'.repeat(70 * 1024)}:443`, 'x'),
      verdict: TOO_LARGE,
    },
    { id: 'E18', attack: '16 KiB without a line end', bytes: 'A'.repeat(MAX_HEAD_BYTES), verdict: TOO_LARGE },
    {
      id: 'E19',
      attack: '65 fields, the last a second Host',
      bytes: withLines(...fields(MAX_FIELDS - 1), 'Host: evil.test'),
      verdict: TOO_LARGE,
    },
    {
      id: 'E19',
      attack: '64 fields, the last a second Host',
      bytes: withLines(...fields(MAX_FIELDS - 2), 'Host: evil.test'),
      verdict: MALFORMED,
    },
  ])('$id $attack', async ({ bytes, verdict }) => {
    const lab = await openLab()
    const { record } = await expectRefused(lab, await lab.gate(), [bytes], verdict)
    expect(record.event.action).toBe('tunnel-denied')
  })

  test('E21 credentials, to a denied host', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const bytes = connectRequest('evil.test:443').replace(
      /\r\n$/,
      'Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n\r\n',
    )
    const { reply } = await expectRefused(lab, gate, [bytes], NOT_ALLOWED)
    const said = [reply.statusLine, ...reply.headerLines, reply.body, ...gate.audit.lines].join('\n')
    expect(said).not.toMatch(/dXNlcjpodW50ZXIy|hunter2/)
  })

  test.for([
    { form: 'http', bytes: 'GET http://cgr.dev/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n' },
    { form: 'https', bytes: 'GET https://cgr.dev/token HTTP/1.1\r\nHost: cgr.dev\r\n\r\n' },
    { form: 'HTTP in capitals', bytes: 'POST HTTP://CGR.DEV/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n' },
  ])('E2 absolute-form, $form: told to use CONNECT', async ({ bytes }) => {
    const lab = await openLab()
    const { reply, record } = await expectRefused(lab, await lab.gate(), [bytes], NOT_CONNECT)
    expect(reply.phrase).toContain('use CONNECT')
    expect(bodyOf(reply).error).toContain('use CONNECT')
    expect(record.message).toContain('use CONNECT')
    expect(reply.headers.get('allow')).toBe('CONNECT')
  })

  test.for([
    { what: 'a script', target: '<script>alert(1)</script>:443', kind: 'path', raw: /[<>]/ },
    { what: 'an attribute', target: '"onload="x:443', kind: 'bad_character', raw: /(?<!\\)"onload=/ },
    { what: 'terminal control (C1)', target: '\u009b31m.cgr.dev:443', kind: 'not_ascii', raw: /\u009b/u },
    { what: 'a bidirectional override', target: '\u202ever.cgr.dev:443', kind: 'not_ascii', raw: /\u202e/u },
  ])('E22 $what in the host is echoed nowhere as it is', async ({ target, kind, raw }) => {
    const lab = await openLab()
    const gate = await lab.gate()
    const { reply } = await expectRefused(lab, gate, [connectRequest(target, 'cgr.dev')], {
      status: 400,
      code: 'malformed_authority',
      kind,
    })
    expect(reply.statusLine).not.toMatch(raw)
    expect(reply.headerLines.join('\n')).not.toMatch(raw)
    expect(reply.body).not.toMatch(raw)
    expect(gate.audit.lines.join('')).not.toMatch(raw)
  })
})

describe('served', () => {
  test.for([
    { id: 'E5', what: 'HTTP/1.0 without Host', bytes: 'CONNECT cgr.dev:443 HTTP/1.0\r\n\r\n' },
    { id: 'E5', what: 'HTTP/1.0 with Host', bytes: REQUEST.replace('/1.1', '/1.0') },
    { id: 'E8', what: 'Host without the port', bytes: connectRequest('cgr.dev:443', 'cgr.dev') },
    { id: 'E8', what: 'Host in capitals', bytes: connectRequest('cgr.dev:443', 'CGR.dev:443') },
    { id: 'E8', what: 'Host between blanks', bytes: connectRequest('cgr.dev:443', ' \tcgr.dev \t') },
    { id: 'E12', what: 'Content-Length: 0', bytes: withLines('Content-Length: 0') },
    { id: 'E18', what: 'a head of exactly 16 KiB', bytes: headOf(MAX_HEAD_BYTES) },
    { id: 'E19', what: '64 fields', bytes: withLines(...fields(MAX_FIELDS - 1)) },
    {
      id: 'E20',
      what: 'header names of object properties',
      bytes: withLines('__proto__: x', 'constructor: y', 'hasOwnProperty: z', 'toString: a'),
    },
    {
      id: 'E21',
      what: 'credentials of 8 KiB',
      bytes: withLines(`Proxy-Authorization: Basic ${'c2VjcmV0'.repeat(1024)}`),
    },
    {
      id: 'E21',
      what: 'credentials in bad base64',
      bytes: withLines('Proxy-Authorization: Basic !c2VjcmV0!='),
    },
    { id: 'E21', what: 'credentials without a scheme', bytes: withLines('Proxy-Authorization:') },
  ])('$id $what', async ({ bytes }) => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(bytes)
    const reply = await client.reply()
    expect(reply.statusLine).toBe('HTTP/1.1 200 Connection established')
    // RFC 9110 section 9.3.6: neither Content-Length nor Transfer-Encoding in a 2xx to CONNECT.
    expect(reply.headerLines).toEqual([])
    await expectThrough(client, await clientHello('cgr.dev'))
    const record = await expectOneDecision(gate, ALLOWED)
    expect(record.destination).toEqual({ domain: 'cgr.dev', ip: PUBLIC, port: 443 })
    expect(gate.audit.lines.join('')).not.toContain('c2VjcmV0')
    await expectNextServed(lab, gate)
  })

  test('E5 HTTP/1.0 without Host goes through every check', async () => {
    const lab = await openLab()
    const bytes = 'CONNECT evil.test:443 HTTP/1.0\r\n\r\n'
    const { record } = await expectRefused(lab, await lab.gate(), [bytes], NOT_ALLOWED)
    expect(record.http?.version).toBe('1.0')
  })

  test('E18 a refused client that goes on sending is cut off', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    const flood = Buffer.alloc(16 * 1024 * 1024, 'x')
    const sent = new Promise<boolean>((resolve) => {
      client.socket.write(flood, (error) => resolve(!error))
    })
    await client.ended()
    await until(() => client.socket.closed, 'the connection to close')
    // More than the system's socket buffers hold: had the gate gone on reading, all of it would have left.
    expect(await sent).toBe(false)
    await expectOneDecision(gate, TOO_LARGE)
    await expectNextServed(lab, gate)
  })
})

describe('what comes with the head', () => {
  test('E14 a ClientHello in the same write goes upstream once', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    const hello = await clientHello('cgr.dev')
    await client.send(Buffer.concat([Buffer.from(REQUEST), hello]))
    expect((await client.reply()).status).toBe(200)
    expect((await client.bytes(hello.length)).equals(hello)).toBe(true)
    await expectThrough(client, Buffer.from('and after it'))
    expect(lab.upstream.received).toEqual([Buffer.concat([hello, Buffer.from('and after it')])])
    await expectOneDecision(gate, ALLOWED)
  })

  test('E14 nothing goes upstream before the verdict', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    const hello = await clientHello('evil.test')
    await client.send(Buffer.concat([Buffer.from(REQUEST), hello]))
    expect((await client.reply()).status).toBe(200)
    // A fatal alert, unrecognized_name (RFC 8446 section 6), and the end.
    expect(await client.rest()).toEqual(Buffer.from([21, 3, 1, 0, 2, 2, 112]))
    await expectOneDecision(gate, { status: 200, code: 'sni_mismatch' })
    await until(() => lab.upstream.open === 0, 'the upstream connection to close')
    expect(Buffer.concat(lab.upstream.received)).toHaveLength(0)
    await expectNextServed(lab, gate)
  })

  test.for([
    { id: 'E14', what: 'a byte at a time', cut: 1 },
    { id: 'E14', what: 'seven bytes at a time', cut: 7 },
  ])('$id the head and the ClientHello $what', async ({ cut }) => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    const hello = await clientHello('cgr.dev')
    const bytes = Buffer.concat([Buffer.from(REQUEST), hello])
    const segments = Array.from({ length: Math.ceil(bytes.length / cut) }, (_, i) =>
      bytes.subarray(i * cut, (i + 1) * cut),
    )
    await client.send(...segments)
    expect((await client.reply()).status).toBe(200)
    expect((await client.bytes(hello.length)).equals(hello)).toBe(true)
    expect(lab.upstream.received).toEqual([hello])
  })

  test('E15 a second request behind one whose dial fails is never read', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    lab.wire.failures.set(PUBLIC, 'refused')
    const client = await lab.client(gate)
    await client.send(REQUEST + connectRequest('evil.test:443') + connectRequest('registry.npmjs.org:443'))
    const refused: Verdict = { status: 502, code: 'connect_refused' }
    const { id } = await expectReply(client, refused)
    await expectOneDecision(gate, refused, id)
    expect(lab.dns.queries.map(({ name }) => name)).toEqual(['cgr.dev', 'cgr.dev'])
    expect(lab.wire.dialled).toHaveLength(1)
    lab.wire.failures.clear()
    await expectNextServed(lab, gate)
  })

  test('E16 what is sent before the 200 is bounded, and nothing of it is lost', async () => {
    const lab = await openLab()
    const answered = Promise.withResolvers<void>()
    lab.dns.on('cgr.dev', 'A', after(answered.promise, addresses(60, PUBLIC))).on('cgr.dev', 'AAAA', NODATA)
    const gate = await lab.gate(SNI_OFF)
    const client = await lab.client(gate)
    const early = Buffer.alloc(16 * 1024 * 1024, 'early data ')
    client.socket.write(REQUEST)
    client.socket.write(early)
    await until(() => lab.wire.accepted.length === 1, 'the connection')
    await until(() => lab.dns.queries.length === 2, 'the question')
    for (let turn = 0; turn < 50; turn += 1) await settle()
    // The system's socket buffers take some megabytes; a gate that went on reading would have taken everything.
    expect(client.socket.writableLength).toBeGreaterThan(4 * 1024 * 1024)
    const [accepted] = lab.wire.accepted
    // On node:net: the head with its chunk, 64 KiB that are kept, and what the stream reads behind a pause.
    const read = accepted instanceof PortableConnection ? accepted.socket.bytesRead : 0
    expect(read).toBeLessThanOrEqual(256 * 1024)

    answered.resolve()
    expect((await client.reply()).status).toBe(200)
    const back = await client.bytes(early.length)
    expect(back.equals(early)).toBe(true)
    expect(lab.upstream.received[0]?.length).toBe(early.length)
    await expectOneDecision(gate, ALLOWED)
  })

  test('E17 CONNECT and FIN together, where the tunnel opens without a ClientHello', async () => {
    const lab = await openLab()
    const gate = await lab.gate(SNI_OFF)
    const client = await lab.client(gate)
    await client.send(REQUEST)
    client.finish()
    expect((await client.reply()).status).toBe(200)
    expect(await client.ended()).toBe('fin')
    await expectOneDecision(gate, ALLOWED)
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
    await until(() => gate.parts.gate.connections === 0 && lab.upstream.open === 0, 'everything to close')
    expect(gate.parts.tunnels.size).toBe(0)
  })

  test('E17 CONNECT and FIN together, where a ClientHello is due', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    client.finish()
    expect((await client.reply()).status).toBe(200)
    await client.ended()
    await expectOneDecision(gate, { status: 200, code: 'client_gone' })
    await until(() => gate.parts.gate.connections === 0 && lab.upstream.open === 0, 'everything to close')
    expect(Buffer.concat(lab.upstream.received)).toHaveLength(0)
    await expectNextServed(lab, gate)
  })

  test('E17 a FIN in the middle of the head is answered', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send('CONNECT cgr.dev:443 HTTP/1.1\r\nHo')
    client.finish()
    const { id } = await expectReply(client, MALFORMED)
    const record = await expectOneDecision(gate, MALFORMED, id)
    expect(record.sallyport.detail).toBe('the head ends early')
    await expectNextServed(lab, gate)
  })

  test('E17 a reset after the CONNECT leaves one record and nothing open', async () => {
    const lab = await openLab()
    const answered = Promise.withResolvers<void>()
    lab.dns.on('cgr.dev', 'any', after(answered.promise, addresses(60, PUBLIC)))
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await until(() => lab.dns.queries.length === 2, 'both questions')
    client.socket.resetAndDestroy()
    await expectOneDecision(gate, { status: 0, code: 'client_gone' })
    await until(() => gate.parts.gate.connections === 0, 'everything to close')
    answered.resolve()
    expect(lab.wire.dialled).toEqual([])
  })
})

function fields(count: number): string[] {
  return Array.from({ length: count }, (_, i) => `X-${i}: ${i}`)
}
