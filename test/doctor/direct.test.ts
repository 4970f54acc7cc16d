/** Every failure that a host can show when it is reached directly, on a fake internet. */
import { describe, expect, test } from 'vitest'
import { createLookUp } from '../../src/doctor/lookup.ts'
import { STEP_LIMITS } from '../../src/doctor/walk.ts'
import { parseBlock } from '../../src/policy/addresses.ts'
import { createAuthority } from '../support/certificates.ts'
import { addresses, chain, NODATA, NXDOMAIN, SERVFAIL, SILENCE } from '../support/dns-scripts.ts'
import { DnsServer } from '../support/dns-server.ts'
import { HOST, openInternet, PUBLIC, REGISTRY_ANSWER, type Internet } from './fake-internet.ts'

const DAY_MS = 86_400_000
/** For what is never going to answer. */
const BRIEF = { ...STEP_LIMITS, connectMs: 100, tlsMs: 200, httpMs: 200 }
const names = { commonName: HOST, dnsNames: [HOST] }

const goodHost = (internet: Internet, answer = REGISTRY_ANSWER): Promise<number> =>
  internet.tlsHost(internet.publicCa.issue(names), answer)

test('a host that is well: every step is told with its facts', async () => {
  const internet = await openInternet()
  const report = await internet.visit(await goodHost(internet))
  expect(report).toMatchObject({ status: 'well', finding: null })
  expect(report.steps.map(({ name, mark }) => `${name} ${mark}`)).toEqual([
    'dns ok',
    'guard ok',
    'tcp ok',
    'tls ok',
    'http ok',
  ])
  const [dns, guard, tcp, tls, http] = report.steps
  expect(dns?.text).toBe(`${PUBLIC}, TTL 60 s, from ${internet.dns.address}, no IPv6`)
  expect(dns?.dns).toMatchObject({ resolver: internet.dns.address, addresses: [PUBLIC], ttlSeconds: 60 })
  expect(guard?.text).toBe('a public address')
  expect(tcp).toMatchObject({ text: `${PUBLIC} answers`, tcp: { address: PUBLIC } })
  expect(tls?.text).toMatch(/^TLSv1\.3, cgr\.dev, issued by Public Root \(Trust Services\), until \d{4}-/)
  expect(tls?.tls).toMatchObject({ trust: 'public', nameMatches: true, names: [HOST] })
  expect(http?.text).toBe('401 to GET /v2/, as a registry should')
  expect(report.verdict).toMatchObject({ status: 'well', summary: 'The host is reachable.', advice: [] })
  expect(report.verdict.notes.join(' ')).toContain(`DNS answers come from ${internet.dns.address}`)
})

test.each([
  ['404', 'HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n'],
  ['500', 'HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n'],
  ['400', 'HTTP/1.1 400 Bad Request\r\nContent-Type: application/xml\r\nContent-Length: 0\r\n\r\n'],
  ['302', 'HTTP/1.1 302 Found\r\nLocation: https://www.example.com/\r\nContent-Length: 0\r\n\r\n'],
  ['200', 'HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>'],
])('from the right TLS peer, a %s is reachability', async (status, answer) => {
  const internet = await openInternet()
  const report = await internet.visit(await goodHost(internet, answer))
  expect(report).toMatchObject({ status: 'well', finding: null })
  expect(report.steps.at(-1)?.http?.status).toBe(Number(status))
})

describe('DNS', () => {
  test('the CNAME chain is told, and the TTL is its smallest', async () => {
    const internet = await openInternet()
    internet.dns
      .on(HOST, 'any', chain([{ to: 'edge.example.net', ttl: 30 }], 300, PUBLIC))
      .on('edge.example.net', 'any', addresses(300, PUBLIC))
    const report = await internet.visit(await goodHost(internet))
    expect(report.status).toBe('well')
    expect(report.steps[0]?.dns).toMatchObject({ ttlSeconds: 30, cnames: ['edge.example.net'] })
    expect(report.steps[0]?.text).toContain('alias of edge.example.net')
  })

  test.each([
    ['NXDOMAIN', NXDOMAIN, 'dns_nxdomain', /^127\.0\.0\.1:\d+ says that there is no such name \(NXDOMAIN\)$/],
    ['SERVFAIL', SERVFAIL, 'dns_error', /^127\.0\.0\.1:\d+ answered SERVFAIL$/],
    ['no address', NODATA, 'dns_error', /has neither an A nor an AAAA record/],
  ] as const)('%s', async (_what, script, code, detail) => {
    const internet = await openInternet()
    internet.dns.on(HOST, 'A', script).on(HOST, 'AAAA', script)
    const report = await internet.visit(443)
    expect(report.finding).toMatchObject({ code, detail: expect.stringMatching(detail) })
    expect(report.steps.map(({ name, mark }) => `${name} ${mark}`)).toEqual(['dns fail'])
    expect(report.verdict).toMatchObject({ status: 'finding', advice: [{ code, owner: 'dns' }] })
  })

  test('silence', async () => {
    const internet = await openInternet()
    internet.dns.on(HOST, 'any', SILENCE)
    const lookUp = createLookUp({ servers: [internet.dns.address], timeoutMs: 100, tries: 1, hosts: {} })
    const report = await internet.visit(443, { kit: { lookUp } })
    expect(report.finding).toEqual({ code: 'dns_timeout', detail: `no answer from ${internet.dns.address}` })
  })

  test('each resolver is asked by itself: one that fails is named although another answers', async () => {
    const internet = await openInternet()
    const broken = await DnsServer.start()
    broken.on(HOST, 'any', SERVFAIL)
    const servers = [broken.address, internet.dns.address]
    const lookUp = createLookUp({ servers, timeoutMs: 20_000, tries: 1, hosts: {} })
    const report = await internet.visit(await goodHost(internet), { kit: { lookUp } })
    await broken.close()
    expect(report.status).toBe('well')
    expect(report.steps[0]).toMatchObject({ mark: 'note', dns: { resolver: internet.dns.address } })
    expect(report.steps[0]?.text).toContain(`${broken.address} fails (ESERVFAIL)`)
  })

  test('static answers are used, and nobody is asked', async () => {
    const internet = await openInternet()
    const hosts = { [HOST]: [PUBLIC] }
    const lookUp = createLookUp({ servers: [internet.dns.address], timeoutMs: 100, tries: 1, hosts })
    const report = await internet.visit(await goodHost(internet), { kit: { lookUp } })
    expect(report.status).toBe('well')
    expect(report.steps[0]?.text).toBe(`${PUBLIC}, static (\`dns.hosts\`)`)
    expect(internet.dns.queries).toEqual([])
  })
})

test('a private answer is refused by the guard, and not dialled', async () => {
  const internet = await openInternet()
  internet.dns.on(HOST, 'A', addresses(60, PUBLIC, '10.1.2.3'))
  let dials = 0
  const port = await internet.listen(() => {
    dials += 1
  })
  const report = await internet.visit(port)
  expect(report.finding).toEqual({
    code: 'address_prohibited',
    detail: `10.1.2.3 is private use, says ${internet.dns.address}`,
  })
  expect(report.steps.at(-1)).toMatchObject({ name: 'guard', mark: 'fail' })
  expect(dials).toBe(0)
})

describe('TCP', () => {
  test('refused', async () => {
    const internet = await openInternet()
    internet.fates.set(PUBLIC, 'refused')
    const report = await internet.visit(443)
    expect(report.finding).toEqual({ code: 'connect_refused', detail: `${PUBLIC} refuses the connection` })
    expect(report.verdict.advice).toMatchObject([
      { owner: 'network', ask: 'ask for egress (TCP) to these hosts', hosts: [{ addresses: [PUBLIC] }] },
    ])
  })

  test('a black hole', async () => {
    const internet = await openInternet()
    internet.fates.set(PUBLIC, 'black-hole')
    const report = await internet.visit(443, { kit: { limits: BRIEF } })
    expect(report.finding).toEqual({ code: 'connect_timeout', detail: `${PUBLIC} does not answer` })
  })

  test('no route', async () => {
    const internet = await openInternet()
    internet.fates.set(PUBLIC, 'unreachable')
    const report = await internet.visit(443)
    expect(report.finding).toEqual({
      code: 'connect_unreachable',
      detail: `${PUBLIC} cannot be reached (ENETUNREACH)`,
    })
  })

  test('a firewall that knows only some of the addresses', async () => {
    const internet = await openInternet()
    internet.dns.on(HOST, 'A', addresses(60, PUBLIC, '8.8.4.4'))
    internet.fates.set('8.8.4.4', 'refused')
    const report = await internet.visit(await goodHost(internet))
    expect(report.finding).toEqual({
      code: 'partly_reachable',
      detail: '1 of 2 addresses answer; not 8.8.4.4 (refuses the connection)',
    })
    expect(report.steps.map(({ name, mark }) => `${name} ${mark}`)).toContain('http ok')
  })

  test('IPv6 that does not work beside IPv4 that does is a note', async () => {
    const internet = await openInternet()
    internet.dns.on(HOST, 'AAAA', addresses(60, '2606:4700::1'))
    internet.fates.set('2606:4700::1', 'unreachable')
    const report = await internet.visit(await goodHost(internet))
    expect(report).toMatchObject({ status: 'well', finding: null })
    expect(report.steps[2]).toMatchObject({ name: 'tcp', mark: 'note' })
    expect(report.steps[2]?.text).toContain('2606:4700::1 cannot be reached (ENETUNREACH)')
  })
})

describe('TLS', () => {
  test('a certificate that has expired', async () => {
    const internet = await openInternet()
    const until = new Date(Date.now() - 2 * DAY_MS)
    const from = new Date(until.getTime() - 30 * DAY_MS)
    const report = await internet.visit(
      await internet.tlsHost(internet.publicCa.issue({ ...names, from, until })),
    )
    expect(report.finding).toMatchObject({ code: 'certificate_expired' })
    expect(report.finding?.detail).toMatch(
      /^expired \d{4}-\d\d-\d\d \d\d:\d\dZ; the clock of this machine says/,
    )
    expect(report.steps.find(({ name }) => name === 'tls')).toMatchObject({
      mark: 'fail',
      tls: { trust: 'public' },
    })
  })

  test('not yet valid, and the Date field shows that our clock is behind', async () => {
    const internet = await openInternet()
    const from = new Date(Date.now() - DAY_MS)
    const port = await internet.tlsHost(
      internet.publicCa.issue({ ...names, from }),
      `HTTP/1.1 401 Unauthorized\r\nDate: ${new Date().toUTCString()}\r\nContent-Length: 0\r\n\r\n`,
    )
    const threeDaysAgo = (): number => Date.now() - 3 * DAY_MS
    const report = await internet.visit(port, { kit: { wallMs: threeDaysAgo } })
    expect(report.finding).toMatchObject({
      code: 'certificate_not_yet_valid',
      owner: 'clock',
      ask: 'set the clock of this machine (NTP)',
    })
    expect(report.finding?.detail).toMatch(/by the host's Date field this clock is 3 days behind$/)
    expect(report.verdict.advice).toMatchObject([{ owner: 'clock' }])
  })

  test('not yet valid without a Date field: the clock is the first suspect', async () => {
    const internet = await openInternet()
    const from = new Date(Date.now() + DAY_MS)
    const report = await internet.visit(await internet.tlsHost(internet.publicCa.issue({ ...names, from })))
    expect(report.finding?.code).toBe('certificate_not_yet_valid')
    expect(report.verdict.advice).toMatchObject([
      { owner: 'clock', ask: expect.stringContaining('check the clock') },
    ])
  })

  test('not yet valid, and by the Date field our clock is right: it is the host', async () => {
    const internet = await openInternet()
    const from = new Date(Date.now() + DAY_MS)
    const port = await internet.tlsHost(
      internet.publicCa.issue({ ...names, from }),
      `HTTP/1.1 200 OK\r\nDate: ${new Date().toUTCString()}\r\nContent-Length: 0\r\n\r\n`,
    )
    const { finding } = await internet.visit(port)
    expect(finding).toMatchObject({ code: 'certificate_not_yet_valid', owner: 'host' })
  })

  test('the certificate of another host', async () => {
    const internet = await openInternet()
    const dnsNames = ['other.example', '*.other.example']
    const other = internet.publicCa.issue({ commonName: 'other', dnsNames })
    const report = await internet.visit(await internet.tlsHost(other))
    expect(report.finding).toEqual({
      code: 'certificate_wrong_name',
      detail: `it is for other.example, *.other.example, not for ${HOST}`,
    })
  })

  test('an interceptor whose CA nobody here knows is named, escaped', async () => {
    const internet = await openInternet()
    const unknown = createAuthority({ commonName: 'Firewall CA', organization: 'Box\u001B[31m Inc' })
    const report = await internet.visit(await internet.tlsHost(unknown.issue(names)))
    expect(report.finding).toMatchObject({
      code: 'unknown_issuer',
      detail: expect.stringMatching(/^issued by Firewall CA \(Box.*Inc\), which is no CA known here$/),
    })
    expect(JSON.stringify(report)).not.toContain('\\u001b')
  })

  test('a forged issuer name does not make a CA: its signature counts', async () => {
    const internet = await openInternet()
    const forged = createAuthority({ commonName: 'Public Root', organization: 'Trust Services' })
    const { finding } = await internet.visit(await internet.tlsHost(forged.issue(names)))
    expect(finding?.code).toBe('unknown_issuer')
  })

  test('an interceptor whose CA this machine trusts is named too', async () => {
    const internet = await openInternet()
    const report = await internet.visit(await internet.tlsHost(internet.corporateCa.issue(names)))
    expect(report.finding).toEqual({
      code: 'interceptor',
      detail: 'issued by Inspection CA (Example Corp), a CA that only this machine trusts',
    })
    expect(report.verdict.advice).toMatchObject([{ code: 'interceptor', owner: 'network' }])
  })

  test('with an intermediate of its own as well', async () => {
    const internet = await openInternet()
    const below = internet.corporateCa.issueAuthority({ commonName: 'Site CA' })
    const leaf = below.issue(names)
    const port = await internet.tlsHost({ ...leaf, cert: leaf.cert + below.cert })
    expect((await internet.visit(port)).finding).toMatchObject({
      code: 'interceptor',
      detail: expect.stringContaining('issued by Site CA'),
    })
  })

  test('a private CA is in place at an inside host of your own', async () => {
    const internet = await openInternet()
    const block = parseBlock('10.0.0.0/8')
    internet.dns.on(HOST, 'A', addresses(60, '10.1.2.3'))
    const report = await internet.visit(await internet.tlsHost(internet.corporateCa.issue(names)), {
      target: { documented: false },
      kit: { addressesAllowed: block ? [block] : [], guard: () => undefined },
    })
    expect(report).toMatchObject({ status: 'well', finding: null })
    expect(report.steps.find(({ name }) => name === 'tls')).toMatchObject({ mark: 'note' })
  })

  test('something that is no TLS, quoted and escaped', async () => {
    const internet = await openInternet()
    const port = await internet.listen((socket) => {
      socket.end('SSH-2.0-OpenSSH\u001B]0;x\u0007\r\n')
    })
    const report = await internet.visit(port)
    expect(report.finding).toEqual({
      code: 'tls_not_spoken',
      detail: 'it answered TLS with: SSH-2.0-OpenSSH\\u{1b}]0;x\\u{7}',
    })
  })

  test('a reset as soon as the host is named', async () => {
    const internet = await openInternet()
    const port = await internet.listen((socket) => {
      socket.once('data', () => socket.resetAndDestroy())
    })
    expect((await internet.visit(port)).finding?.code).toBe('tls_reset')
  })

  test('an alert', async () => {
    const internet = await openInternet()
    const port = await internet.listen((socket) => {
      // unrecognized_name, RFC 8446 section 6.
      socket.once('data', () => socket.end(Buffer.of(21, 3, 3, 0, 2, 2, 112)))
    })
    const { finding } = await internet.visit(port)
    expect(finding).toMatchObject({ code: 'tls_failed', detail: expect.stringMatching(/UNRECOGNIZED_NAME/) })
  })

  test('silence', async () => {
    const internet = await openInternet()
    const port = await internet.listen((socket) => {
      socket.resume()
    })
    const report = await internet.visit(port, { kit: { limits: BRIEF } })
    expect(report.finding?.code).toBe('tls_timeout')
  })
})

describe('HTTP', () => {
  const httpBrief = { connectMs: 20_000, tlsMs: 20_000, httpMs: 200, proxyReplyMs: 20_000 }

  test('silence after TLS', async () => {
    const internet = await openInternet()
    const port = await internet.tlsHost(internet.publicCa.issue(names), (socket) => {
      socket.resume()
    })
    const report = await internet.visit(port, { kit: { limits: httpBrief } })
    expect(report.finding).toEqual({ code: 'http_timeout', detail: 'no answer to GET /v2/' })
  })

  test('an end without an answer', async () => {
    const internet = await openInternet()
    const port = await internet.tlsHost(internet.publicCa.issue(names), (socket) => {
      socket.once('data', () => socket.end())
    })
    expect((await internet.visit(port)).finding?.code).toBe('http_failed')
  })
})

describe('captive portal', () => {
  const redirect =
    'HTTP/1.1 302 Found\r\nLocation: http://login.example/?x=\u001B[2J\r\nContent-Length: 0\r\n\r\n'

  test('plain HTTP on the TLS port', async () => {
    const internet = await openInternet()
    const port = await internet.listen((socket) => {
      socket.once('data', () => socket.end(redirect))
    })
    expect((await internet.visit(port)).finding).toEqual({
      code: 'captive_portal',
      detail: 'it answered TLS with plain HTTP: 302 to http://login.example/?x=\\u{1b}[2J',
    })
  })

  test('a plain web server on the TLS port is none: it says 400 with a page to every ClientHello', async () => {
    const internet = await openInternet()
    const page = 'HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>'
    const port = await internet.listen((socket) => {
      socket.once('data', () => socket.end(page))
    })
    expect((await internet.visit(port)).finding).toEqual({
      code: 'tls_not_spoken',
      detail: 'it answered TLS with: HTTP/1.1 400 Bad Request',
    })
  })

  test('a redirect under a certificate that is not the host’s', async () => {
    const internet = await openInternet()
    const portal = internet.publicCa.issue({ commonName: 'p', dnsNames: ['login.example'] })
    const report = await internet.visit(await internet.tlsHost(portal, redirect))
    expect(report.finding?.code).toBe('captive_portal')
    expect(report.finding?.detail).toMatch(
      /^302 to http:\/\/login\.example.*the certificate is for login\.example/,
    )
    expect(report.steps.at(-1)).toMatchObject({ name: 'http', mark: 'fail' })
  })

  test('the block page of an inspecting filter, where a registry should be', async () => {
    const internet = await openInternet()
    const page = '<html>\r\nBlocked by policy</html>'
    const port = await internet.tlsHost(
      internet.corporateCa.issue(names),
      `HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: ${page.length}\r\n\r\n${page}`,
    )
    expect((await internet.visit(port)).finding).toMatchObject({
      code: 'captive_portal',
      detail: expect.stringMatching(/^403 with an HTML page;/),
    })
  })
})
