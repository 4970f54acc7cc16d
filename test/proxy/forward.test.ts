/** `forward.absoluteForm: on`: requests in clear for https URLs, served over verified TLS. The host is real, on loopback. */
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, readdirSync } from 'node:fs'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { connect, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { hasOpenssl } from '../support/certificate-lab.ts'
import { until } from '../support/deadline.ts'
import { openForwardLab, originCertificates, type OriginCertificates } from '../support/https-origin.ts'
import type { TestGate } from '../support/gate.ts'

const get = (path = '/', more: readonly string[] = []): string =>
  [`GET https://cgr.dev${path} HTTP/1.1`, 'Host: cgr.dev', ...more].join('\r\n') + '\r\n\r\n'

const forwardings = ({ audit }: TestGate) =>
  audit.records.filter(({ event }) => event.action === 'request-forwarded')

async function expectForwarded(gate: TestGate, expected: Readonly<Record<string, unknown>>): Promise<void> {
  await until(() => forwardings(gate).length > 0, 'the record')
  await expectBaseline(gate)
  expect(forwardings(gate)).toHaveLength(1)
  expect(forwardings(gate)[0]).toMatchObject(expected)
  expect(gate.audit.decisions).toEqual([])
}

/** Nothing is left open. */
async function expectBaseline({ parts }: TestGate): Promise<void> {
  await until(() => parts.gate.connections === 0, 'all connections to end')
  expect(parts.tunnels.size).toBe(0)
}

describe.skipIf(!hasOpenssl)('with openssl', () => {
  let certificates: OriginCertificates
  beforeAll(() => {
    certificates = originCertificates()
  })
  afterAll(() => certificates.remove())

  const open = (
    request: (request: IncomingMessage, response: ServerResponse) => void,
    settings?: Readonly<Record<string, unknown>>,
  ) => openForwardLab(certificates.right, { request }, settings)
  const openRaw = (raw: (socket: TLSSocket) => void, settings?: Readonly<Record<string, unknown>>) =>
    openForwardLab(certificates.right, { raw }, settings)
  /** A host that takes what comes and answers with these bytes. */
  const answering = (bytes: string) =>
    openRaw((socket) => socket.once('data', () => socket.end(Buffer.from(bytes, 'latin1'))))

  test('GET: fields for one hop and for proxies stay here, Via is added, one record', async () => {
    let seen: IncomingMessage | undefined
    const lab = await open((request, response) => {
      seen = request
      response.setHeader('X-Kept', 'yes')
      response.setHeader('X-Named', 'no')
      response.setHeader('Keep-Alive', 'timeout=5')
      response.setHeader('Proxy-Authenticate', 'Basic')
      response.setHeader('Connection', 'x-named, keep-alive')
      response.end('hello')
    })
    const client = await lab.client()
    await client.send(
      get('/a//b/../c?d=%20&e?', [
        'User-Agent: test/1',
        'Authorization: Bearer secret',
        'Proxy-Authorization: Basic dXNlcjpwYXNz',
        'Proxy-Connection: keep-alive',
        'Connection: keep-alive, X-Mine',
        'X-Mine: 1',
        'TE: trailers',
        'Via: 1.0 fred',
      ]),
    )
    const reply = await client.reply()
    expect(reply.statusLine).toBe('HTTP/1.1 200 OK')
    expect(reply.headers.get('connection')).toBe('close')
    expect(reply.headers.get('x-kept')).toBe('yes')
    expect(reply.headers.get('via')).toBe('1.1 sallyport')
    for (const name of ['x-named', 'keep-alive', 'proxy-authenticate'])
      expect(reply.headers.has(name)).toBe(false)
    expect((await client.rest()).toString() + reply.body).toContain('hello')
    expect(seen?.url).toBe('/a//b/../c?d=%20&e?')
    expect(seen?.headers).toEqual({
      host: 'cgr.dev',
      'user-agent': 'test/1',
      authorization: 'Bearer secret',
      via: '1.0 fred, 1.1 sallyport',
      connection: 'close',
    })
    expect(lab.wire.dialled).toEqual([{ address: '8.8.8.8', port: 443 }])
    await expectForwarded(lab.gate, {
      event: { outcome: 'success', reason: 'completed' },
      http: { request: { method: 'GET' }, response: { status_code: 200 }, version: '1.1' },
      source: { bytes: 0 },
      destination: { domain: 'cgr.dev', ip: '8.8.8.8', port: 443, bytes: 5 },
      user_agent: { original: 'test/1' },
    })
    expect(lab.gate.audit.lines.join('')).not.toMatch(/secret|dXNlc|%20|\/a\//)
    expect(lab.gate.parts.journal.totals).toMatchObject({ forwarded: 1, opened: 0, denied: 0, failed: 0 })
  })

  const echo = (request: IncomingMessage, response: ServerResponse): void => {
    const hash = createHash('sha256')
    let length = 0
    request.on('data', (chunk: Buffer) => {
      hash.update(chunk)
      length += chunk.length
    })
    request.on('end', () => response.end(`${length} ${hash.digest('hex')}`))
  }
  const BODY = randomBytes(5_000_000)
  const DIGEST = `${BODY.length} ${createHash('sha256').update(BODY).digest('hex')}`

  test.for([
    ['https://cgr.dev', '/'],
    ['https://cgr.dev?q', '/?q'],
    ['https://cgr.dev/a//b/../c/%2e%2e?', '/a//b/../c/%2e%2e?'],
    ['https://cgr.dev//x/?a=1?b=//[]|', '//x/?a=1?b=//[]|'],
    ['HTTPS://CGR.DEV:443/X', '/X'],
  ])('%s asks for %s, as it was written, with a body or without', async ([url, path]) => {
    const seen: (string | undefined)[] = []
    const lab = await open((request, response) => {
      seen.push(request.url)
      request.resume().once('end', () => response.end())
    })
    for (const head of [`GET ${url}`, `POST ${url}`]) {
      const client = await lab.client()
      const body = head.startsWith('POST') ? 'Content-Length: 4\r\n\r\nbody' : '\r\n'
      await client.send(`${head} HTTP/1.1\r\nHost: cgr.dev\r\n${body}`)
      expect((await client.reply()).status).toBe(200)
    }
    expect(seen).toEqual([path, path])
  })

  test.for([
    { how: 'with its length', fields: [`Content-Length: ${BODY.length}`], body: BODY },
    {
      how: 'in chunks',
      fields: ['Transfer-Encoding: chunked'],
      body: Buffer.concat([
        Buffer.from(`${BODY.length.toString(16)}\r\n`),
        BODY,
        Buffer.from('\r\n0\r\n\r\n'),
      ]),
    },
    {
      how: 'once told to go on',
      fields: [`Content-Length: ${BODY.length}`, 'Expect: 100-continue'],
      body: BODY,
    },
  ])('POST $how', async ({ fields, body }) => {
    const lab = await open(echo)
    const client = await lab.client()
    await client.send(get('/upload', fields).replace('GET', 'POST'))
    const replies = fields.length > 1 ? [(await client.reply()).status] : []
    await client.send(body)
    const reply = await client.reply()
    expect([...replies, reply.status]).toEqual(fields.length > 1 ? [100, 200] : [200])
    expect(reply.body || (await client.rest()).toString()).toContain(DIGEST)
    client.finish()
    await expectForwarded(lab.gate, { source: { bytes: BODY.length }, event: { reason: 'completed' } })
  })

  test('a large download to a slow client arrives whole, and is not read ahead without bound', async () => {
    const size = 48 * 1024 * 1024
    const part = randomBytes(64 * 1024)
    let sent = 0
    const lab = await open((_request, response) => {
      response.setHeader('Content-Length', size)
      const more = (): void => {
        while (sent < size) {
          sent += part.length
          if (!response.write(part)) {
            response.once('drain', more)
            return
          }
        }
        response.end()
      }
      more()
    })
    const client = await lab.client()
    client.socket.removeAllListeners('data')
    client.socket.pause()
    await client.send(get())
    await until(() => sent > 0, 'the answer to begin')
    // Until the host has to wait.
    let last = -1
    await until(() => {
      const still = sent === last
      last = sent
      return still && sent > 1024 * 1024
    }, 'the host to be held up')
    await new Promise((resolve) => {
      setTimeout(resolve, 300)
    })
    expect(sent).toBeLessThan(size)
    const hash = createHash('sha256')
    let received = 0
    let head = Buffer.alloc(0)
    let inBody = false
    for await (const chunk of client.socket as AsyncIterable<Buffer>) {
      if (inBody) {
        hash.update(chunk)
        received += chunk.length
        continue
      }
      head = Buffer.concat([head, chunk])
      const end = head.indexOf('\r\n\r\n')
      if (end === -1) continue
      inBody = true
      hash.update(head.subarray(end + 4))
      received += head.length - end - 4
    }
    const expected = createHash('sha256')
    for (let at = 0; at < size; at += part.length) expected.update(part)
    expect(received).toBe(size)
    expect(hash.digest('hex')).toBe(expected.digest('hex'))
    await expectForwarded(lab.gate, { destination: { bytes: size } })
  })

  test('HEAD, and HTTP/1.0', async () => {
    const lab = await open((_request, response) => {
      response.setHeader('Content-Length', 1000)
      response.end('x'.repeat(1000))
    })
    const client = await lab.client()
    await client.send(get().replace('GET', 'HEAD'))
    expect((await client.rest()).toString()).toMatch(
      /^HTTP\/1\.1 200 OK\r\n[^]*content-length: 1000\r\n[^]*\r\n\r\n$/i,
    )
    const old = await lab.client()
    await old.send('GET https://cgr.dev HTTP/1.0\r\n\r\n')
    expect((await old.rest()).toString()).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nx{1000}$/)
  })

  test.for([
    { what: 'a name that is not the host', pair: 'otherName', detail: 'ERR_TLS_CERT_ALTNAME_INVALID' },
    { what: 'an expired one', pair: 'expired', detail: 'CERT_HAS_EXPIRED' },
    { what: 'an unknown authority', pair: 'untrusted', detail: 'SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO' },
  ] as const)('a certificate with $what: 502, and the host gets no request', async ({ pair, detail }) => {
    let asked = 0
    const lab = await openForwardLab(certificates[pair], { request: () => (asked += 1) })
    const client = await lab.client()
    await client.send(get())
    const reply = await client.reply()
    expect(reply.statusLine).toMatch(/^HTTP\/1\.1 502 sallyport failed cgr\.dev:443: upstream_tls_failed/)
    expect(reply.phrase).toMatch(new RegExp(detail))
    expect(await client.ended()).toBe('fin')
    await expectBaseline(lab.gate)
    expect(asked).toBe(0)
    expect(lab.gate.audit.decisions.map(({ event }) => [event.action, event.reason])).toEqual([
      ['tunnel-failed', 'upstream_tls_failed'],
    ])
    expect(forwardings(lab.gate)).toEqual([])
  })

  const CHUNKED = 'Transfer-Encoding: chunked'
  test.for([
    [
      'another host',
      'GET https://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n',
      403,
      'host_not_allowed',
    ],
    [
      'another port',
      'GET https://cgr.dev:8443/ HTTP/1.1\r\nHost: cgr.dev:8443\r\n\r\n',
      403,
      'port_not_allowed',
    ],
    ['an address', 'GET https://8.8.8.8/ HTTP/1.1\r\nHost: 8.8.8.8\r\n\r\n', 403, 'ip_literal'],
    ['an IPv6 address', 'GET https://[::1]/ HTTP/1.1\r\nHost: [::1]\r\n\r\n', 403, 'ip_literal'],
    ['another Host', 'GET https://cgr.dev/ HTTP/1.1\r\nHost: evil.example\r\n\r\n', 400, 'host_mismatch'],
    ['two Hosts', get('/', ['Host: cgr.dev']), 400, 'malformed_request'],
    ['no Host', 'GET https://cgr.dev/ HTTP/1.1\r\n\r\n', 400, 'malformed_request'],
    ['userinfo', 'GET https://u:p@cgr.dev/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n', 400, 'malformed_authority'],
    ['no authority', 'GET https:///x HTTP/1.1\r\nHost: cgr.dev\r\n\r\n', 400, 'malformed_authority'],
    ['an empty port', 'GET https://cgr.dev:/x HTTP/1.1\r\nHost: cgr.dev\r\n\r\n', 400, 'malformed_authority'],
    [
      'a backslash',
      'GET https://cgr.dev\\@evil.example/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n',
      400,
      'malformed_authority',
    ],
    ['a fragment', get('/#x'), 400, 'malformed_request'],
    ['http://', 'GET http://cgr.dev/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n', 405, 'method_not_allowed'],
    ['origin-form', 'GET / HTTP/1.1\r\nHost: cgr.dev\r\n\r\n', 405, 'method_not_allowed'],
    ['TRACE', get().replace('GET', 'TRACE'), 405, 'method_not_allowed'],
    ['an unknown method', get().replace('GET', 'BREW'), 405, 'method_not_allowed'],
    ['TE and CL', get('/', [CHUNKED, 'Content-Length: 3']), 400, 'malformed_request'],
    ['CL and TE', get('/', ['Content-Length: 3', CHUNKED]), 400, 'malformed_request'],
    ['two lengths', get('/', ['Content-Length: 3', 'Content-Length: 3']), 400, 'malformed_request'],
    ['a list of lengths', get('/', ['Content-Length: 3, 3']), 400, 'malformed_request'],
    ['a signed length', get('/', ['Content-Length: +3']), 400, 'malformed_request'],
    ['a hexadecimal length', get('/', ['Content-Length: 0x3']), 400, 'malformed_request'],
    ['an empty length', get('/', ['Content-Length:']), 400, 'malformed_request'],
    ['two codings', get('/', ['Transfer-Encoding: gzip, chunked']), 400, 'malformed_request'],
    ['a coding twice', get('/', [CHUNKED, CHUNKED]), 400, 'malformed_request'],
    ['an obscured coding', get('/', ['Transfer-Encoding: \x0bchunked']), 400, 'malformed_request'],
    ['a coding in HTTP/1.0', get('/', [CHUNKED]).replace('/1.1', '/1.0'), 400, 'malformed_request'],
    ['DELETE in chunks', get('/', [CHUNKED]).replace('GET', 'DELETE'), 400, 'malformed_request'],
    ['obs-fold', get('/', ['X: a', ' b']), 400, 'malformed_request'],
    ['a blank before the colon', get('/', ['Content-Length : 3']), 400, 'malformed_request'],
    ['an Upgrade', get('/', ['Connection: Upgrade', 'Upgrade: websocket']), 400, 'malformed_request'],
    ['another Expect', get('/', ['Expect: 200-ok']), 400, 'malformed_request'],
  ] as const)('refused: %s', async ([, bytes, status, code]) => {
    let asked = 0
    const lab = await open(() => (asked += 1))
    const client = await lab.client()
    await client.send(bytes)
    const reply = await client.reply()
    expect([reply.status, reply.phrase]).toEqual([status, expect.stringContaining(`: ${code}`)])
    expect(await client.ended()).toBe('fin')
    await expectBaseline(lab.gate)
    expect(lab.wire.dialled).toEqual([])
    expect(asked).toBe(0)
    expect(lab.gate.audit.decisions.map(({ event }) => event.reason)).toEqual([code])
  })

  test('what is refused is recorded without path and query', async () => {
    const lab = await open(() => undefined)
    const client = await lab.client()
    await client.send('GET http://cgr.dev/hunter2?token=hunter3 HTTP/1.1\r\nHost: cgr.dev\r\n\r\n')
    expect((await client.reply()).phrase).toContain('use CONNECT')
    await lab.gate.audit.waitForDecisions(1)
    expect(lab.gate.audit.lines.join('')).not.toContain('hunter')
  })

  test('off, the default: told to use CONNECT', async () => {
    const lab = await open(() => undefined, { forward: {} })
    const client = await lab.client()
    await client.send(get())
    expect((await client.reply()).statusLine).toMatch(/^HTTP\/1\.1 405 .*method_not_allowed, use CONNECT/)
  })

  test('a second request on the connection is not served', async () => {
    let asked = 0
    const lab = await open((_request, response) => {
      asked += 1
      setTimeout(() => response.end('first'), 100)
    })
    const client = await lab.client()
    await client.send(get() + get('/second'), get('/third'))
    const all = (await client.rest()).toString()
    expect(all.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(all).toContain('first')
    await expectForwarded(lab.gate, { event: { reason: 'completed' } })
    expect(asked).toBe(1)
  })

  test('a body that is no chunk: 400, and the host sees no end of it', async () => {
    let ended = false
    const lab = await open((request) => {
      request.on('error', () => undefined)
      request.on('end', () => {
        ended = true
      })
      request.resume()
    })
    const client = await lab.client()
    await client.send(get('/', [CHUNKED]).replace('GET', 'POST') + '3\r\nabc\r\nx\r\n')
    const reply = await client.reply()
    expect([reply.status, reply.phrase]).toEqual([400, expect.stringContaining('malformed_request')])
    await expectBaseline(lab.gate)
    expect(ended).toBe(false)
  })

  test.for([
    ['nothing', ''],
    ['no HTTP', 'SSH-2.0-OpenSSH_9.6\r\n'],
    ['a head cut short', 'HTTP/1.1 200 OK\r\nX:'],
    ['status 000', 'HTTP/1.1 000 No\r\nContent-Length: 0\r\n\r\n'],
    ['an upgrade that nobody asked for', 'HTTP/1.1 101 Sure\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n'],
    ['TE and CL', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n'],
  ])('the host answers with %s: 502', async ([, bytes]) => {
    const lab = await answering(bytes ?? '')
    const client = await lab.client()
    await client.send(get())
    const reply = await client.reply()
    expect(reply.statusLine).toMatch(/^HTTP\/1\.1 502 sallyport failed cgr\.dev:443: upstream_failed/)
    await expectBaseline(lab.gate)
    expect(lab.gate.audit.decisions.map(({ event }) => event.reason)).toEqual(['upstream_failed'])
  })

  test('control bytes in the reason phrase are not passed on', async () => {
    const lab = await answering('HTTP/1.1 200 a\x01\x1bb\r\nContent-Length: 2\r\n\r\nok')
    const client = await lab.client()
    await client.send(get())
    expect((await client.reply()).statusLine).toBe('HTTP/1.1 200 OK')
  })

  test.for([
    ['with its length', 'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf'],
    ['in chunks', 'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n'],
  ])('an answer %s that ends early: the client is reset', async ([, bytes]) => {
    const lab = await answering(bytes ?? '')
    const client = await lab.client()
    await client.send(get())
    expect(await client.ended()).toBe('reset')
    await expectForwarded(lab.gate, {
      event: { reason: 'upstream_reset', outcome: 'failure' },
      http: { response: { status_code: 200 } },
    })
  })

  test.for([
    ['before the answer', false],
    ['in the answer', true],
  ] as const)('a client that goes %s takes the host side with it', async ([, begun]) => {
    let closed = false
    let asked = 0
    const lab = await open((request, response) => {
      asked += 1
      request.socket.on('close', () => {
        closed = true
      })
      if (begun) response.write('begun')
    })
    const client = await lab.client()
    await client.send(get())
    await until(() => asked > 0, 'the request')
    if (begun) await until(() => client.received.includes('begun'), 'the answer')
    client.socket.resetAndDestroy()
    await expectForwarded(lab.gate, { event: { reason: 'client_reset', outcome: 'failure' } })
    await until(() => closed, 'the host side to close')
    expect(lab.wire.dialled).toHaveLength(1)
  })

  test('a host that never answers: 504 after the idle limit', async () => {
    const lab = await open(() => undefined, { limits: { idleTimeout: '200ms' } })
    const client = await lab.client()
    await client.send(get())
    expect((await client.reply()).statusLine).toMatch(/^HTTP\/1\.1 504 .*upstream_timeout/)
    await expectBaseline(lab.gate)
  })

  test.skipIf(!existsSync('/proc/self/fd'))('however it ends, no descriptor is left', async () => {
    const lab = await open((request, response) => {
      request.on('error', () => undefined)
      request.resume()
      if (request.url === '/whole') response.end('whole')
      else if (request.url === '/cut') {
        response.write('cut')
        request.socket.destroy()
      } else response.write('open')
    })
    const descriptors = (): number => readdirSync('/proc/self/fd').length
    const before = descriptors()
    for (let round = 0; round < 10; round += 1) {
      for (const path of ['/whole', '/cut', '/open']) {
        const client = await lab.client()
        await client.send(get(path))
        await until(() => client.received.length > 0 || client.socket.destroyed, 'an answer')
        client.socket.resetAndDestroy()
      }
      const bad = await lab.client()
      await bad.send(get('/open', [CHUNKED]) + 'x\r\n')
      await bad.ended()
    }
    await expectBaseline(lab.gate)
    await until(() => descriptors() <= before, 'the descriptors to be closed')
    await until(() => lab.gate.audit.records.length >= 40, 'a record for each')
    expect(lab.gate.audit.records).toHaveLength(40)
  })

  test('over a listener that speaks TLS, to another port, whatever the environment asks of http-proxy', async () => {
    process.env['FORCE_FETCH_PATH'] = 'true'
    let seen: IncomingMessage | undefined
    let origin = 0
    const lab = await openForwardLab(
      certificates.right,
      {
        request(request, response) {
          seen = request
          response.end('hello')
        },
      },
      (port) => {
        origin = port
        return {
          listen: { address: '127.0.0.1:0', tls: certificates.right },
          policy: { presets: [], allow: [{ host: 'cgr.dev', port }] },
          dns: { hosts: { 'cgr.dev': ['127.0.0.1'] } },
          addresses: { allow: ['127.0.0.0/8'] },
        }
      },
    )
    const client = connect({ host: '127.0.0.1', port: lab.gate.port, servername: 'cgr.dev' })
    client.write(get('/x').replaceAll('cgr.dev', `cgr.dev:${origin}`))
    let all = ''
    for await (const chunk of client) all += String(chunk)
    expect(all).toMatch(/^HTTP\/1\.1 200 OK\r\n[^]*hello/)
    expect(seen?.headers.host).toBe(`cgr.dev:${origin}`)
    await expectForwarded(lab.gate, { event: { reason: 'completed' }, destination: { port: origin } })
  })

  test('a drain waits for what is under way, and cuts it when its time is over', async () => {
    const slow = await open((_request, response) => {
      response.write('be')
      setTimeout(() => response.end('gun'), 300)
    })
    const client = await slow.client()
    await client.send(get())
    await until(() => client.received.includes('be'), 'the answer')
    const stopped = slow.gate.parts.gate.stop()
    expect((await client.rest()).toString()).toMatch(/be[^]*gun/)
    await stopped
    await expectForwarded(slow.gate, { event: { reason: 'completed' } })

    const never = await open((_request, response) => void response.write('begun'), {
      limits: { drainTimeout: '100ms' },
    })
    const left = await never.client()
    await left.send(get())
    await until(() => left.received.includes('begun'), 'the answer')
    await never.gate.parts.gate.stop()
    expect(await left.ended()).toBe('reset')
    await expectForwarded(never.gate, { event: { reason: 'drain_timeout' } })
  })
})
