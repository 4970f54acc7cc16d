/** Listeners that speak TLS, and clients that show a certificate. Upstream is a local TLS server, reached for real. */
import { execFile } from 'node:child_process'
import { X509Certificate } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect as connectTcp } from 'node:net'
import { Duplex } from 'node:stream'
import { connect, createServer, type ConnectionOptions, type TLSSocket } from 'node:tls'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { createGate } from '../../src/index.ts'
import { certificateNames } from '../../src/wire/tls/certificate-names.ts'
import { CertificateLab, hasOpenssl, readPair, type Pair } from '../support/certificate-lab.ts'
import { clientHello } from '../support/client-hello.ts'
import { within } from '../support/deadline.ts'
import { parseSettings, startGate, type TestGate } from '../support/gate.ts'
import { passwordFile, proxyAuthorization } from '../support/passwords.ts'
import { RawClient } from '../support/raw-client.ts'

const BODY = 'x'.repeat(300_000)

describe.skipIf(!hasOpenssl)('with openssl', () => {
  let lab: CertificateLab
  let ca: Pair
  let own: Pair
  let builder: Pair
  let person: Pair
  let expired: Pair
  let stranger: Pair
  let upstreamPort = 0
  const upstreamClose: (() => void)[] = []

  beforeAll(async () => {
    lab = new CertificateLab()
    ca = lab.authority('Test CA')
    own = lab.issue(ca, 'gate', 'DNS:localhost,IP:127.0.0.1')
    builder = lab.issue(ca, 'ignored', 'DNS:builder.example.com,URI:spiffe://example.com/builder')
    person = lab.issue(ca, 'ada', '')
    expired = lab.issue(ca, 'old', 'DNS:builder.example.com', ['-days', '-1'])
    stranger = lab.issue(lab.authority('Other CA'), 'ignored', 'DNS:builder.example.com')
    const site = lab.issue(ca, 'site', 'DNS:cgr.dev')
    const server = createServer(readPair(site), (socket) => {
      socket.on('error', () => undefined)
      socket.once('data', () =>
        socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${BODY.length}\r\n\r\n${BODY}`),
      )
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const bound = server.address()
    upstreamPort = typeof bound === 'object' && bound !== null ? bound.port : 0
    upstreamClose.push(() => server.close())
  })
  afterAll(() => {
    for (const close of upstreamClose) close()
    lab.remove()
  })

  function settings(more: Readonly<Record<string, unknown>>, mutual: boolean) {
    return {
      listen: [
        { address: '127.0.0.1:0', tls: { ...own, ...(mutual && { clientCa: ca.cert }) } },
        '127.0.0.1:0',
      ],
      policy: { presets: [], allow: [{ host: 'cgr.dev', port: upstreamPort }] },
      dns: { hosts: { 'cgr.dev': ['127.0.0.1'] } },
      addresses: { allow: ['127.0.0.0/8'] },
      ...more,
    }
  }

  async function open(more: Readonly<Record<string, unknown>> = {}, mutual = false): Promise<TestGate> {
    const gate = await startGate(settings(more, mutual))
    onTestFinished(async () => {
      await gate.stop()
      expect(gate.bugs).toEqual([])
    })
    return gate
  }

  async function secure(gate: TestGate, options: ConnectionOptions = {}): Promise<TLSSocket> {
    const socket = connect({
      host: '127.0.0.1',
      port: gate.port,
      ca: readFileSync(ca.cert),
      servername: 'localhost',
      ...options,
    })
    onTestFinished(() => void socket.destroy())
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once('secureConnect', resolve)
        socket.once('error', reject)
      }),
      'the handshake with the gate',
    )
    socket.on('error', () => undefined)
    return socket
  }

  async function ask(
    gate: TestGate,
    options: ConnectionOptions = {},
    host = 'cgr.dev',
    ...fields: readonly string[]
  ): Promise<string> {
    const socket = await secure(gate, options)
    let text = ''
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1')
    })
    const authority = `${host}:${upstreamPort}`
    socket.write([`CONNECT ${authority} HTTP/1.1`, `Host: ${authority}`, ...fields, '', ''].join('\r\n'))
    await within(
      new Promise<void>((resolve) => {
        socket.on('data', () => {
          if (text.includes('\r\n\r\n')) resolve()
        })
        socket.once('close', () => resolve())
      }),
      'a reply',
    )
    return text.split('\r\n')[0] ?? ''
  }

  function curl(
    gate: TestGate,
    ...args: readonly string[]
  ): Promise<{ code: number; stdout: string; stderr: string }> {
    const common = [
      '-sS',
      '-m',
      '8',
      '--cacert',
      ca.cert,
      '--proxy-cacert',
      ca.cert,
      '-x',
      `https://localhost:${gate.port}`,
    ]
    return new Promise((resolve) => {
      execFile(
        'curl',
        [...common, ...args, `https://cgr.dev:${upstreamPort}/`],
        { encoding: 'utf8', maxBuffer: 1e7 },
        (error, stdout, stderr) => {
          resolve({ code: typeof error?.code === 'number' ? error.code : 0, stdout, stderr })
        },
      )
    })
  }

  test('curl through https://proxy gets every byte, and the records are as ever', async () => {
    const gate = await open()
    const { code, stdout, stderr } = await curl(gate)
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    expect(stdout).toBe(BODY)
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing).toMatchObject({ event: { action: 'tunnel-closed' }, source: { ip: '127.0.0.1' } })
    expect(gate.audit.decisions).toHaveLength(1)
    expect(gate.audit.decisions[0]).toMatchObject({ tls: { client: { server_name: 'cgr.dev' } } })
  })

  test('the plain listener beside it serves on the wire under test', async () => {
    const gate = await open()
    const client = await RawClient.connect(gate.parts.gate.endpoints[1]?.port ?? 0)
    onTestFinished(() => client.destroy())
    await client.send('CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test\r\n\r\n')
    expect((await client.reply()).status).toBe(403)
  })

  test('refusals are readable: curl shows the status', async () => {
    const gate = await open({ policy: { presets: [], allow: [{ host: 'a.example.com' }] }, dns: {} })
    const { code, stderr } = await curl(gate, '-v')
    expect(code).toBe(56)
    expect(stderr).toContain(`HTTP/1.1 403 sallyport denied cgr.dev:${upstreamPort}: host_not_allowed`)
  })

  describe('with clientCa', () => {
    const rules = {
      clients: {
        rules: [
          { name: 'builders', certificates: ['spiffe://example.com/builder'] },
          { name: 'people', certificates: ['ada'] },
        ],
        others: 'deny',
      },
    }

    test('curl with a certificate is who the certificate says', async () => {
      const gate = await open(rules, true)
      const { code, stdout } = await curl(gate, '--proxy-cert', builder.cert, '--proxy-key', builder.key)
      expect(code).toBe(0)
      expect(stdout).toBe(BODY)
      const [record] = await gate.audit.waitForDecisions(1)
      expect(record).toMatchObject({
        user: { name: 'builder.example.com' },
        sallyport: { client: 'builders', proven_by: 'certificate' },
      })
      const [closing] = await gate.audit.waitForClosings(1)
      expect(closing).toMatchObject({ sallyport: { client: 'builders', proven_by: 'certificate' } })
    })

    test('a common name counts where there is no other name', async () => {
      const gate = await open(rules, true)
      expect(await ask(gate, readPair(person))).toContain('200')
    })

    test.each<[string, () => ConnectionOptions, string]>([
      ['none', () => ({}), 'the client showed no certificate'],
      ['an expired one', () => readPair(expired), 'CERT_HAS_EXPIRED'],
      ['one of another authority', () => readPair(stranger), 'UNABLE_TO_'],
    ])('%s is a 403 that says so, and a record', async (_what, options, detail) => {
      const gate = await open(rules, true)
      const line = await ask(gate, options())
      expect(line).toMatch(/^HTTP\/1\.1 403 sallyport denied .*certificate_required/)
      expect(line).toContain(detail)
      const [record] = await gate.audit.waitForDecisions(1)
      expect(record?.event.reason).toBe('certificate_required')
      expect(record).not.toHaveProperty('user')
    })

    test.each(['DER:04:00', 'DER:30:05:82:09:61'])(
      'a subjectAltName that cannot be read does not make the common name count: %s',
      async (names) => {
        const gate = await open(rules, true)
        expect(await ask(gate, readPair(lab.issue(ca, 'ada', names)))).toContain('certificate_required')
      },
    )

    describe('is no user, whatever its name', () => {
      const builders = { name: 'builders', certificates: ['ada'] }
      const staff = { name: 'staff', users: 'any' }
      const policyOf = (more: object) => ({
        policy: {
          presets: [],
          allow: [{ host: 'cgr.dev', port: upstreamPort }],
          // The tunnel is open with the 200.
          sni: 'off',
          ...more,
        },
      })

      test('when a reload takes its rule away', async () => {
        const passwords = await passwordFile({ ada: 'correct horse battery' })
        const before = {
          ...policyOf({ onRevoke: 'close' }),
          clients: { passwords, rules: [builders, staff], others: 'deny' },
        }
        const gate = await open(before, true)
        expect(await ask(gate, readPair(person))).toContain('200')
        await gate.audit.waitForDecisions(1)
        const after = { ...before, clients: { passwords, rules: [staff], others: 'deny' } }
        const revoked = gate.parts.reload(parseSettings(settings(after, true)))
        expect(revoked).toMatchObject([{ certificateNames: ['ada'], user: undefined }])
        const [closing] = await gate.audit.waitForClosings(1)
        expect(closing?.event.reason).toBe('policy_revoked')
        expect(await ask(gate, readPair(person))).toContain('407')
      })

      test('when a candidate is asked', async () => {
        const passwords = await passwordFile({ ada: 'correct horse battery' })
        const candidate = lab.path('next.json')
        const next = { ...policyOf({}), clients: { passwords, rules: [staff], others: 'deny' } }
        writeFileSync(candidate, JSON.stringify(settings(next, true)))
        const now = { ...policyOf({ candidate }), clients: { passwords, rules: [builders] } }
        const gate = await open(now, true)
        expect(await ask(gate, readPair(person))).toContain('200')
        const [record] = await gate.audit.waitForDecisions(1)
        expect(record?.sallyport['candidate']).toMatchObject({ decision: 'denied', reason: 'client_unknown' })
      })

      test('nor is the user the certificate: the record says which of the two it was', async () => {
        const passwords = await passwordFile({ ada: 'correct horse battery' })
        const clients = { passwords, rules: [staff], others: 'deny' }
        const gate = await open({ ...policyOf({}), clients }, true)
        const field = proxyAuthorization('ada', 'correct horse battery')
        expect(await ask(gate, readPair(builder), 'cgr.dev', field)).toContain('200')
        const [record] = await gate.audit.waitForDecisions(1)
        expect(record).toMatchObject({ user: { name: 'ada' }, sallyport: { proven_by: 'password' } })
      })
    })

    test('without any rule a certificate is required all the same', async () => {
      const gate = await open({}, true)
      expect(await ask(gate)).toContain('certificate_required')
      expect(await ask(gate, readPair(person))).toContain('200')
    })

    test.each(['TLSv1.2', 'TLSv1.3'] as const)(
      'a session cannot be resumed, so a certificate cannot be left out the second time, %s',
      async (version) => {
        const gate = await open(rules, true)
        const versions: ConnectionOptions = { minVersion: version, maxVersion: version }
        let session: Buffer | undefined
        const first = await secure(gate, versions)
        first.on('session', (ticket) => {
          session = ticket
        })
        first.write('CONNECT cgr.dev:1 HTTP/1.1\r\nHost: cgr.dev:1\r\n\r\n')
        first.resume()
        await within(new Promise((resolve) => first.once('close', resolve)), 'the first to end')
        session ??= first.getSession()
        const again = await secure(gate, { ...versions, ...(session && { session }) })
        expect(again.isSessionReused()).toBe(false)
        expect(await ask(gate, { ...versions, ...(session && { session }) })).toContain(
          'certificate_required',
        )
      },
    )
  })

  describe('handshakes that fail', () => {
    test.each([
      'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\n\r\n',
      'GET http://cgr.dev/ HTTP/1.1\r\n\r\n',
      'X',
    ])('plain HTTP on the TLS port is answered in plain HTTP, and recorded: %j', async (request) => {
      const gate = await open()
      const client = await RawClient.connect(gate.port)
      onTestFinished(() => client.destroy())
      await client.send(request)
      const reply = await client.reply()
      expect(reply.status).toBe(400)
      expect(reply.phrase).toMatch(/^sallyport .*tls_handshake_failed, .*write HTTPS_PROXY=https:/)
      await client.ended()
      const [record] = await gate.audit.waitForDecisions(1)
      expect(record).toMatchObject({
        event: { action: 'tunnel-failed', reason: 'tls_handshake_failed' },
        source: { ip: '127.0.0.1' },
        sallyport: { detail: 'plain HTTP on a TLS port, write HTTPS_PROXY=https://...' },
      })
      expect(gate.parts.dropped).toBe(0)
    })

    test('plain HTTP from a client outside clients.allow is told that', async () => {
      const gate = await open({ clients: { allow: ['192.0.2.0/24'] } })
      const client = await RawClient.connect(gate.port)
      onTestFinished(() => client.destroy())
      await client.send('CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\n\r\n')
      expect((await client.reply()).phrase).toContain('client_not_allowed')
    })

    test('bytes that are neither TLS nor HTTP are recorded', async () => {
      const gate = await open()
      const client = await RawClient.connect(gate.port)
      onTestFinished(() => client.destroy())
      await client.send(Buffer.alloc(64, 0x7f))
      await client.ended()
      const [record] = await gate.audit.waitForDecisions(1)
      expect(record?.event.reason).toBe('tls_handshake_failed')
      expect(record?.sallyport['detail']).toMatch(/^ERR_SSL_/)
    })

    test.each([1, 100])('a handshake that stops after %i bytes is recorded', async (length) => {
      const gate = await open({ limits: { headTimeout: '300ms' } })
      const client = await RawClient.connect(gate.port)
      onTestFinished(() => client.destroy())
      await client.send((await clientHello('localhost')).subarray(0, length))
      await client.ended()
      const [record] = await gate.audit.waitForDecisions(1)
      expect(record).toMatchObject({
        event: { reason: 'tls_handshake_failed' },
        source: { ip: '127.0.0.1' },
        sallyport: { detail: 'timeout' },
      })
      expect(gate.parts.dropped).toBe(0)
    })

    test('a handshake in many pieces is as good as one', async () => {
      const gate = await open()
      const socket = connectTcp(gate.port, '127.0.0.1')
      onTestFinished(() => void socket.destroy())
      await within(new Promise((resolve) => socket.once('connect', resolve)), 'a connection')
      // What the TLS client writes goes out a byte at a time.
      const split = new Duplex({
        read: () => undefined,
        write(chunk: Buffer, _encoding, done) {
          for (const byte of chunk) socket.write(Buffer.of(byte))
          done()
        },
      })
      socket.setNoDelay(true)
      socket.on('data', (chunk: Buffer) => split.push(chunk))
      const secured = connect({ socket: split, ca: readFileSync(ca.cert), servername: 'localhost' })
      secured.on('error', () => undefined)
      await within(new Promise((resolve) => secured.once('secureConnect', resolve)), 'the handshake')
      expect(secured.authorized).toBe(true)
    })

    test("a client that does not trust the gate's certificate is recorded", async () => {
      const gate = await open()
      const { code } = await curl(gate, '--proxy-cacert', stranger.cert)
      expect(code).toBe(60)
      const [record] = await gate.audit.waitForDecisions(1)
      expect(record?.event.reason).toBe('tls_handshake_failed')
    })

    test('clients that say nothing are counted, bounded for each address, and free their place', async () => {
      const gate = await open({ limits: { headTimeout: '3s' } })
      for (let round = 1; round <= 2; round += 1) {
        const silent = await Promise.all(Array.from({ length: 64 }, () => RawClient.connect(gate.port)))
        onTestFinished(() => {
          for (const client of silent) client.destroy()
        })
        // One more than one address may have under way: dropped at once, the others still being open.
        const over = await RawClient.connect(gate.port)
        await over.ended()
        expect(gate.parts.dropped).toBe(65 * round - 64)
        for (const client of silent) await client.ended()
        expect(gate.parts.dropped).toBe(65 * round)
      }
      expect(await ask(gate)).toContain('200')
      expect(gate.audit.decisions).toEqual([])
    }, 30_000)

    test('a port check is neither recorded nor counted', async () => {
      const gate = await open()
      const check = await RawClient.connect(gate.port)
      check.finish()
      await check.ended()
      expect(await ask(gate)).toContain('200')
      expect(gate.parts.dropped).toBe(0)
    })

    test('a client outside clients.allow is told so after its handshake', async () => {
      const gate = await open({ clients: { allow: ['192.0.2.0/24'] } })
      expect(await ask(gate)).toContain('client_not_allowed')
    })
  })

  test('stop() ends tunnels of TLS clients and frees everything', async () => {
    const gate = await open()
    expect(await ask(gate)).toContain('200')
    await gate.stop()
    expect(gate.parts.gate.connections).toBe(0)
    const check = connectTcp(gate.port, '127.0.0.1')
    await expect(
      new Promise((resolve, reject) => {
        check.once('connect', resolve)
        check.once('error', reject)
      }),
    ).rejects.toThrow('ECONNREFUSED')
  })

  test.each<[string, () => Record<string, string>, RegExp]>([
    [
      'is missing',
      () => ({ ...own, cert: lab.path('nowhere.pem') }),
      /listen\[0\]\.tls\.cert: .*nowhere\.pem: no such file/,
    ],
    ['belongs to another certificate', () => ({ ...own, key: person.key }), /do not work together: /],
    ['is no PEM file', () => ({ ...own, cert: lab.path('junk') }), /do not work together: /],
  ])('a file that %s is said by name before anything listens', (_what, tls, words) => {
    writeFileSync(lab.path('junk'), 'junk')
    const config = parseSettings({ listen: [{ address: '127.0.0.1:0', tls: tls() }] })
    expect(() => createGate(config, { sinks: [] })).toThrow(words)
  })

  test('names of a certificate', () => {
    const namesOf = (pair: Pair): readonly string[] =>
      certificateNames(new X509Certificate(readFileSync(pair.cert)))
    expect(namesOf(builder)).toEqual(['builder.example.com', 'spiffe://example.com/builder'])
    expect(namesOf(person)).toEqual(['ada'])
    expect(namesOf(own)).toEqual(['localhost'])
    expect(namesOf(lab.issue(ca, 'x', 'email:ada@example.com,URI:a:b'))).toEqual(['ada@example.com', 'a:b'])
    // The common name counts where the extension is not there, not where it has no name of use.
    expect(namesOf(lab.issue(ca, 'ada', 'IP:192.0.2.1'))).toEqual([])
    expect(namesOf(lab.issue(ca, 'ada', 'otherName:1.3.6.1.5.5.7.8.5;UTF8:x'))).toEqual([])
    expect(namesOf(lab.issue(ca, 'ada', 'DER:30:00'))).toEqual([])
  })

  test.each([
    ['a URI', 'URI=a:b, DNS:ada', ['a:b, DNS:ada']],
    ['a mail address', 'email=a, DNS:ada', ['a, DNS:ada']],
    ['an XmppAddr', 'otherName=1.3.6.1.5.5.7.8.5;UTF8:x, DNS:ada', []],
    ['a UPN', 'otherName=1.3.6.1.4.1.311.20.2.3;UTF8:x, DNS:ada', []],
    ['an otherName before a name', 'otherName=1.3.6.1.5.5.7.8.5;UTF8:x, DNS:ada\nDNS=eve', ['eve']],
    ['a registered id', 'RID=1.2.3.4\nDNS=eve', ['eve']],
    ['a directory name', 'dirName=who\n[who]\nCN=x, DNS:ada', []],
  ])('%s cannot smuggle in a name', (_what, entries, names) => {
    const { cert } = lab.issue(ca, 'ada', `@names\n[names]\n${entries}`)
    expect(certificateNames(new X509Certificate(readFileSync(cert)))).toEqual(names)
  })
})
