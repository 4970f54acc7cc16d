/** Through proxies: what each of them answered, and whose it is to mend. */
import { connect, type Socket } from 'node:net'
import { describe, expect, test } from 'vitest'
import { createAuthority } from '../support/certificates.ts'
import { addresses, NODATA } from '../support/dns-scripts.ts'
import { freePort } from '../support/free-port.ts'
import { openLab } from '../support/lab.ts'
import { passwordFile } from '../support/passwords.ts'
import { testWire } from '../support/test-wire.ts'
import { HOST, openInternet, PUBLIC, type Internet } from './fake-internet.ts'

const names = { commonName: HOST, dnsNames: [HOST] }
const PATIENT = { connectMs: 20_000, tlsMs: 20_000, httpMs: 20_000, proxyReplyMs: 20_000 }

/** Answers every CONNECT with this, and remembers the requests. */
async function answering(internet: Internet, reply: string): Promise<{ url: string; seen: string[] }> {
  const seen: string[] = []
  const port = await internet.listen((socket) => {
    socket.once('data', (request: Buffer) => {
      seen.push(request.toString('latin1'))
      socket.end(Buffer.from(reply, 'latin1'))
    })
  })
  return { url: `http://127.0.0.1:${port}`, seen }
}

/** Opens every tunnel to the port of the target on loopback, whatever its name. */
function tunnel(socket: Socket): void {
  socket.once('data', (request: Buffer) => {
    const port = /^CONNECT [^:]+:(\d+) /.exec(request.toString('latin1'))?.[1]
    const upstream = connect(Number(port), '127.0.0.1')
    upstream.on('error', () => socket.destroy())
    socket.on('close', () => upstream.destroy())
    socket.write('HTTP/1.1 200 Connection established\r\n\r\n')
    socket.pipe(upstream).pipe(socket)
  })
}

const http = (status: string, fields: readonly string[], body = ''): string =>
  [`HTTP/1.1 ${status}`, ...fields, `Content-Length: ${body.length}`, '', body].join('\r\n')

test('a proxy that lets it through; it resolves, so nobody else is asked', async () => {
  const internet = await openInternet()
  const host = await internet.tlsHost(internet.publicCa.issue(names))
  const proxy = await internet.listen(tunnel)
  const report = await internet.visit(host, { via: `http://127.0.0.1:${proxy}` })
  expect(report).toMatchObject({ status: 'well', finding: null })
  expect(report.steps.map(({ name, mark }) => `${name} ${mark}`)).toEqual([
    'proxy ok',
    'connect ok',
    'tls ok',
    'http ok',
  ])
  expect(report.verdict.summary).toBe(`The host is reachable through http://127.0.0.1:${proxy}.`)
  expect(internet.dns.queries).toEqual([])
})

test('a proxy that speaks TLS to its clients', async () => {
  const internet = await openInternet()
  const host = await internet.tlsHost(internet.publicCa.issue(names))
  const certificate = internet.corporateCa.issue({ commonName: 'p', dnsNames: ['proxy.example'] })
  const proxy = await internet.tlsHost(certificate, tunnel)
  const report = await internet.visit(host, { via: `https://proxy.example:${proxy}` })
  expect(report).toMatchObject({ status: 'well', finding: null })
  expect(report.steps[0]?.text).toMatch(/^https:\/\/proxy\.example:\d+ answers, TLSv1\.3, proxy\.example/)
})

test('credentials are sent and never shown', async () => {
  const internet = await openInternet()
  const { url, seen } = await answering(internet, http('403 Forbidden', []))
  const report = await internet.visit(443, { via: url.replace('//', '//ann:s%40cret@') })
  expect(seen[0]).toContain(`\r\nProxy-Authorization: Basic ${btoa('ann:s@cret')}\r\n`)
  expect(JSON.stringify(report)).not.toMatch(/s@cret|s%40cret|ann:/)
})

test('an interceptor behind the proxy is named', async () => {
  const internet = await openInternet()
  const host = await internet.tlsHost(internet.corporateCa.issue(names))
  const proxy = await internet.listen(tunnel)
  const report = await internet.visit(host, { via: `http://127.0.0.1:${proxy}` })
  expect(report.finding?.code).toBe('interceptor')
})

describe('a proxy that refuses', () => {
  test('403: status line, Proxy-Status and the first line of the body, escaped', async () => {
    const internet = await openInternet()
    const fields = ['Proxy-Status: edge; error=http_request_denied', 'Server: squid']
    const body = '\r\n<title>No \u0007entry</title>\r\nmore'
    const { url, seen } = await answering(internet, http('403 Forb\u001B[1midden', fields, body))
    const report = await internet.visit(443, { via: url })
    expect(seen[0]).toMatch(/^CONNECT cgr\.dev:443 HTTP\/1\.1\r\nHost: cgr\.dev:443\r\n/)
    expect(report.finding).toEqual({
      code: 'proxy_denied',
      detail: 'HTTP/1.1 403 Forb\\u{1b}[1midden: <title>No \\u{7}entry</title>',
    })
    expect(report.steps.at(-1)?.text).toBe(
      'HTTP/1.1 403 Forb\\u{1b}[1midden | Proxy-Status: edge; error=http_request_denied | Server: squid | <title>No \\u{7}entry</title>',
    )
    expect(report.verdict.advice).toMatchObject([{ owner: 'proxy' }])
  })

  test('407 with what it offers', async () => {
    const internet = await openInternet()
    const status = '407 Proxy Authentication Required'
    const challenges = ['Proxy-Authenticate: Negotiate', 'Proxy-Authenticate: Basic realm="a, b"']
    const { url } = await answering(internet, http(status, challenges))
    expect((await internet.visit(443, { via: url })).finding).toEqual({
      code: 'proxy_auth_required',
      detail: 'HTTP/1.1 407 Proxy Authentication Required (it offers Negotiate, Basic realm="a, b")',
    })
  })

  test.each([
    [['Proxy-Authenticate: Negotiate', 'Proxy-Authenticate: NTLM']],
    [['Proxy-Authenticate: X y=", Basic"']],
  ])('407 without Basic: no advice to put a password into the URL (%j)', async (challenges) => {
    const internet = await openInternet()
    const { url } = await answering(internet, http('407 Proxy Authentication Required', challenges))
    const { finding, verdict } = await internet.visit(443, { via: url })
    expect(finding?.code).toBe('proxy_auth_required')
    expect(JSON.stringify(verdict.advice)).toContain('it takes no user and password from a URL')
    expect(JSON.stringify(verdict.advice)).not.toContain('PASSWORD@')
  })

  test('an error page is a refusal, no portal', async () => {
    const internet = await openInternet()
    const { url } = await answering(internet, http('403 Forbidden', ['Content-Type: text/html'], '<html>'))
    expect((await internet.visit(443, { via: url })).finding?.code).toBe('proxy_denied')
  })

  test('503: it allows the host and does not get there', async () => {
    const internet = await openInternet()
    const { url } = await answering(internet, http('503 Service Unavailable', []))
    expect((await internet.visit(443, { via: url })).finding?.code).toBe('proxy_failed')
  })

  test.each([
    [
      '302 to its login',
      http('302 Found', ['Location: http://login.example/']),
      '302 to http://login.example/',
    ],
    ['511', http('511 Network Authentication Required', []), '511 Network Authentication Required'],
  ])('a captive portal: %s', async (_what, reply, sign) => {
    const internet = await openInternet()
    const { url } = await answering(internet, reply)
    expect((await internet.visit(443, { via: url })).finding).toEqual({
      code: 'captive_portal',
      detail: `to CONNECT came ${sign}`,
    })
  })
})

describe('Sallyport itself', () => {
  test('its 407 is a question for credentials, in its own words', async () => {
    const internet = await openInternet()
    const gate = await (
      await openLab()
    ).gate({
      clients: {
        passwords: await passwordFile({ releaser: 'correct horse' }),
        rules: [{ name: 'ci', users: ['releaser'] }],
      },
    })
    const report = await internet.visit(443, { via: `http://127.0.0.1:${gate.port}` })
    expect(report.finding).toEqual({
      code: 'proxy_auth_required',
      detail: expect.stringMatching(/^this Sallyport says credentials_missing \(id [0-9A-Z]{26}\)$/),
      ask: 'write HTTPS_PROXY=http://user:password@…',
    })
  })

  test('its refusal is told with code and hint, and what to do there', async () => {
    const internet = await openInternet()
    const gate = await (await openLab()).gate()
    const report = await internet.visit(443, {
      via: `http://127.0.0.1:${gate.port}`,
      target: { host: 'cgr.dv' },
    })
    expect(report.finding).toMatchObject({
      code: 'proxy_denied',
      detail: expect.stringMatching(
        /^this Sallyport says host_not_allowed, hint: cgr\.dev \(id [0-9A-Z]{26}\)$/,
      ),
      ask: 'at that Sallyport: correct the name, or have the host added to the policy',
    })
    expect(report.steps.at(-1)?.connect?.sallyport).toMatchObject({
      code: 'host_not_allowed',
      hint: 'cgr.dev',
    })
  })

  test('its failure beyond the policy as well', async () => {
    const internet = await openInternet()
    const lab = await openLab()
    lab.wire.failures.set(PUBLIC, 'refused')
    const gate = await lab.gate()
    const report = await internet.visit(443, { via: `http://127.0.0.1:${gate.port}` })
    expect(report.finding).toMatchObject({
      code: 'proxy_failed',
      detail: expect.stringContaining('this Sallyport says connect_refused'),
    })
  })

  test('the whole way through it, with its ClientHello check', async () => {
    const internet = await openInternet()
    const host = await internet.tlsHost(internet.publicCa.issue(names))
    const lab = await openLab()
    lab.dns.on(HOST, 'A', addresses(60, '127.0.0.1')).on(HOST, 'AAAA', NODATA)
    const gate = await lab.gate(
      { policy: { allow: [{ host: HOST, port: host }] }, addresses: { allow: ['127.0.0.0/8'] } },
      { wire: await testWire() },
    )
    const report = await internet.visit(host, { via: `http://127.0.0.1:${gate.port}` })
    expect(report).toMatchObject({ status: 'well', finding: null })
  })

  test('https:// to its plain port', async () => {
    const internet = await openInternet()
    const gate = await (await openLab()).gate()
    const report = await internet.visit(443, { via: `https://127.0.0.1:${gate.port}` })
    expect(report.finding).toMatchObject({ code: 'proxy_tls' })
    expect(report.verdict.advice[0]?.ask).toContain('use http:// with --via')
  })
})

describe('a proxy that is not there', () => {
  test('refused', async () => {
    const internet = await openInternet()
    const url = `http://127.0.0.1:${await freePort()}`
    expect((await internet.visit(443, { via: url })).finding).toEqual({
      code: 'proxy_unreachable',
      detail: `${url}: refuses the connection`,
    })
  })

  test('a black hole', async () => {
    const internet = await openInternet()
    internet.fates.set('192.0.2.1', 'black-hole')
    const limits = { ...PATIENT, connectMs: 100 }
    const report = await internet.visit(443, { via: 'http://192.0.2.1:3128', kit: { limits } })
    expect(report.finding).toEqual({
      code: 'proxy_unreachable',
      detail: 'http://192.0.2.1:3128: does not answer',
    })
  })

  test('silent after CONNECT', async () => {
    const internet = await openInternet()
    const port = await internet.listen((socket) => {
      socket.resume()
    })
    const limits = { ...PATIENT, proxyReplyMs: 200 }
    const report = await internet.visit(443, { via: `http://127.0.0.1:${port}`, kit: { limits } })
    expect(report.finding?.code).toBe('proxy_no_answer')
  })

  test('something that is no HTTP', async () => {
    const internet = await openInternet()
    const { url } = await answering(internet, '220 mail.example ESMTP\r\n')
    expect((await internet.visit(443, { via: url })).finding).toEqual({
      code: 'proxy_not_http',
      detail: `${url} answered CONNECT with: 220 mail.example ESMTP`,
    })
  })

  test('a TLS proxy with a certificate that nobody knows', async () => {
    const internet = await openInternet()
    const unknown = createAuthority({ commonName: 'Nobody' })
    const certificate = unknown.issue({ commonName: 'p', dnsNames: ['proxy.example'] })
    const proxy = await internet.tlsHost(certificate, tunnel)
    const report = await internet.visit(443, { via: `https://proxy.example:${proxy}` })
    expect(report.finding).toMatchObject({
      code: 'proxy_tls',
      detail: expect.stringContaining('issued by Nobody'),
    })
  })
})
