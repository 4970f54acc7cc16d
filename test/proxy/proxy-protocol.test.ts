/** The PROXY protocol: its parser byte by byte, its listener with raw clients, and the real haproxy in front. */
import { spawn, spawnSync } from 'node:child_process'
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parseProxyHeader, type ProxyHeader } from '../../src/proxy/proxy-protocol.ts'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { freePort } from '../support/free-port.ts'
import type { TestGate } from '../support/gate.ts'
import { connectRequest, expectThrough, openLab, type Lab, type LabSettings } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'

const SIGNATURE = Buffer.from('\r\n\r\n\0\r\nQUIT\n', 'latin1')

function v2(command: number, family: number, payload: Buffer, length = payload.length): Buffer {
  return Buffer.concat([SIGNATURE, Buffer.from([command, family, length >> 8, length & 255]), payload])
}

const V4 = Buffer.from([192, 0, 2, 7, 10, 0, 0, 1, 0x9c, 0x40, 0x0c, 0x38])
const V6 = Buffer.concat([
  Buffer.from('20010db8000000000000000000000007', 'hex'),
  Buffer.from('20010db8000000000000000000000001', 'hex'),
  Buffer.from([0x9c, 0x40, 0x0c, 0x38]),
])
const TLV = Buffer.from([0x04, 0, 3, 1, 2, 3])
const of = (text: string): Buffer => Buffer.from(text, 'latin1')
const source = { address: '192.0.2.7', port: 40_000 }
const source6 = { address: '2001:db8::7', port: 40_000 }

const HEADERS: readonly [string, Buffer, { address: string; port: number } | undefined][] = [
  ['v1 TCP4', of('PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\r\n'), source],
  ['v1 TCP6', of('PROXY TCP6 2001:DB8::7 2001:db8::1 40000 3128\r\n'), source6],
  ['v1 TCP6 of a mapped address', of('PROXY TCP6 ::ffff:192.0.2.7 ::1 40000 3128\r\n'), source],
  ['v1 UNKNOWN', of('PROXY UNKNOWN\r\n'), undefined],
  ['v1 UNKNOWN with more', of('PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n'), undefined],
  ['v2 TCP4', v2(0x21, 0x11, V4), source],
  ['v2 TCP6', v2(0x21, 0x21, V6), source6],
  ['v2 TCP4 with extensions', v2(0x21, 0x11, Buffer.concat([V4, TLV])), source],
  ['v2 LOCAL', v2(0x20, 0x00, Buffer.alloc(0)), undefined],
  ['v2 LOCAL with an address', v2(0x20, 0x11, V4), undefined],
  ['v2 unspecified', v2(0x21, 0x00, TLV), undefined],
]

describe('the parser', () => {
  test.each(HEADERS)('%s', (_what, header, expected) => {
    const wanted: ProxyHeader = {
      kind: 'header',
      ...(expected && { source: expected }),
      length: header.length,
    }
    expect(parseProxyHeader(header)).toEqual(wanted)
    expect(parseProxyHeader(Buffer.concat([header, of('CONNECT x')]))).toEqual(wanted)
    for (let length = 0; length < header.length; length += 1) {
      expect(parseProxyHeader(header.subarray(0, length)), `${length} bytes`).toEqual({ kind: 'incomplete' })
    }
  })

  test.each<[string, Buffer]>([
    ['no header at all', of('CONNECT cgr.dev:443 HTTP/1.1\r\n\r\n')],
    ['TLS', of('\x16\x03\x01')],
    ['small letters', of('proxy TCP4 192.0.2.7 10.0.0.1 40000 3128\r\n')],
    ['another family', of('PROXY UDP4 192.0.2.7 10.0.0.1 40000 3128\r\n')],
    ['IPv6 in TCP4', of('PROXY TCP4 ::1 10.0.0.1 40000 3128\r\n')],
    ['IPv4 in TCP6', of('PROXY TCP6 192.0.2.7 ::1 40000 3128\r\n')],
    ['octal', of('PROXY TCP4 0300.0.2.7 10.0.0.1 40000 3128\r\n')],
    ['a name', of('PROXY TCP4 cgr.dev 10.0.0.1 40000 3128\r\n')],
    ['a port too large', of('PROXY TCP4 192.0.2.7 10.0.0.1 65536 3128\r\n')],
    ['a port with a leading zero', of('PROXY TCP4 192.0.2.7 10.0.0.1 040 3128\r\n')],
    ['a port missing', of('PROXY TCP4 192.0.2.7 10.0.0.1 40000\r\n')],
    ['something more', of('PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128 x\r\n')],
    ['two spaces', of('PROXY TCP4  192.0.2.7 10.0.0.1 40000 3128\r\n')],
    ['a zone', of('PROXY TCP6 fe80::1%eth0 ::1 40000 3128\r\n')],
    ['a line without end', of(`PROXY UNKNOWN ${'x'.repeat(120)}`)],
    ['version 3', v2(0x31, 0x11, V4)],
    ['an unknown command', v2(0x22, 0x11, V4)],
    ['UDP', v2(0x21, 0x12, V4)],
    ['a unix socket', v2(0x21, 0x31, Buffer.alloc(216))],
    ['an address cut short', v2(0x21, 0x11, V4.subarray(0, 11))],
    ['IPv6 in the size of IPv4', v2(0x21, 0x21, V4)],
    ['64 KiB announced', v2(0x21, 0x11, V4, 65_535)],
  ])('%s is malformed', (_what, bytes) => {
    expect(parseProxyHeader(bytes).kind).toBe('malformed')
  })

  test('any bytes have one verdict, and more of them never take back a header', () => {
    const start = fc.constantFrom(
      of(''),
      of('PROXY '),
      of('PROXY TCP4 '),
      SIGNATURE,
      v2(0x21, 0x11, V4),
      v2(0x21, 0x21, V6),
    )
    fc.assert(
      fc.property(start, fc.uint8Array({ maxLength: 200 }), (prefix, noise) => {
        const bytes = Buffer.concat([prefix, noise])
        const whole = parseProxyHeader(bytes)
        const parts = Array.from(bytes.keys(), (length) => parseProxyHeader(bytes.subarray(0, length)))
        expect(parts.find(({ kind }) => kind !== 'incomplete') ?? whole).toEqual(whole)
        expect(whole.kind === 'header' ? whole.length : 0).toBeLessThanOrEqual(bytes.length)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('the listener', () => {
  const listen = [{ address: '127.0.0.1:0', proxyProtocol: { from: ['127.0.0.1'] } }]

  async function open(settings: LabSettings = {}): Promise<{ lab: Lab; gate: TestGate }> {
    const lab = await openLab()
    return { lab, gate: await lab.gate({ listen, clients: { allow: ['192.0.2.0/24'] }, ...settings }) }
  }

  test.each([
    ['v1', of('PROXY TCP4 192.0.2.7 10.0.0.1 40000 3128\r\n')],
    ['v2', v2(0x21, 0x11, Buffer.concat([V4, TLV]))],
  ])('%s names the client: for clients.allow, for the limits and in the record', async (_what, header) => {
    const { lab, gate } = await open()
    const client = await lab.client(gate)
    // In one segment, so that the request comes with the header.
    await client.send(Buffer.concat([header, of(connectRequest('cgr.dev:443'))]))
    expect((await client.reply()).status).toBe(200)
    await expectThrough(client, await clientHello('cgr.dev'))
    expect(gate.parts.tunnels.ofClient('192.0.2.7')).toBe(1)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.source).toEqual({ ip: '192.0.2.7', port: 40_000 })
    expect(record?.sallyport['via']).toMatchObject({ ip: '127.0.0.1' })
    client.finish()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.source).toMatchObject({ ip: '192.0.2.7' })
    await until(() => gate.parts.tunnels.ofClient('192.0.2.7') === 0, 'its place to be free')
    expect(gate.parts.gate.connections).toBe(0)
  })

  test('byte by byte it is the same', async () => {
    const { lab, gate } = await open()
    const client = await lab.client(gate)
    const bytes = Buffer.concat([v2(0x21, 0x21, V6), of(connectRequest('evil.test:443'))])
    await client.send(...[...bytes].map((byte) => Buffer.from([byte])))
    expect((await client.reply()).phrase).toContain('client_not_allowed, from 2001:db8::7')
  })

  test('clients.rules see the client behind the balancer', async () => {
    const { lab, gate } = await open({
      clients: {
        allow: ['192.0.2.0/24'],
        rules: [{ name: 'ci', from: ['192.0.2.7'], policy: { allow: [{ host: 'a.example.com' }] } }],
      },
    })
    const client = await lab.client(gate)
    await client.send(`PROXY TCP4 192.0.2.7 10.0.0.1 1 2\r\n${connectRequest('cgr.dev:443')}`)
    expect((await client.reply()).phrase).toContain('host_not_allowed')
    expect((await gate.audit.waitForDecisions(1))[0]?.sallyport['client']).toBe('ci')
  })

  test('a client that the balancer names has its own share of tunnels', async () => {
    const { lab, gate } = await open({ clients: { allow: ['192.0.2.0/24'], maxTunnelsPerClient: 1 } })
    const statuses = []
    for (const from of ['192.0.2.1', '192.0.2.1', '192.0.2.2']) {
      const client = await lab.client(gate)
      await client.send(`PROXY TCP4 ${from} 10.0.0.1 1 2\r\n${connectRequest('cgr.dev:443')}`)
      statuses.push((await client.reply()).status)
    }
    expect(statuses).toEqual([200, 503, 200])
  })

  test('a health check speaks for the balancer', async () => {
    const { lab, gate } = await open()
    const client = await lab.client(gate)
    await client.send(v2(0x20, 0, Buffer.alloc(0)), connectRequest('cgr.dev:443'))
    expect((await client.reply()).phrase).toContain('client_not_allowed, from 127.0.0.1')
    const silent = await lab.client(gate)
    await silent.send(v2(0x20, 0, Buffer.alloc(0)))
    silent.finish()
    await silent.ended()
    const port = await lab.client(gate)
    port.finish()
    await port.ended()
    await until(() => gate.parts.gate.connections === 0, 'all to be over')
    expect(gate.audit.decisions).toHaveLength(1)
  })

  test.each([
    ['no header', connectRequest('cgr.dev:443')],
    ['a malformed one', `PROXY TCP4 x y 1 2\r\n${connectRequest('cgr.dev:443')}`],
  ])('%s from the balancer is refused and recorded', async (_what, request) => {
    const { lab, gate } = await open()
    const client = await lab.client(gate)
    await client.send(request)
    const reply = await client.reply()
    expect(reply.status).toBe(400)
    expect(reply.phrase).toContain('proxy_header_invalid')
    expect(await client.ended()).toBe('fin')
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({ source: { ip: '127.0.0.1' }, event: { reason: 'proxy_header_invalid' } })
  })

  test('a header that does not come in time', async () => {
    const { lab, gate } = await open({ limits: { headTimeout: '80ms' } })
    const client = await lab.client(gate)
    await client.send('PROXY TCP4 192.0')
    expect((await client.reply()).phrase).toContain('proxy_header_invalid, it did not arrive in time')
  })

  test('a second header, or one from somebody else, is a malformed request', async () => {
    const { lab, gate } = await open({
      listen: [{ address: '0.0.0.0:0', proxyProtocol: { from: ['127.0.0.5'] } }],
      clients: {},
    })
    for (const [localAddress, headers] of [
      ['127.0.0.1', 1],
      ['127.0.0.5', 2],
    ] as const) {
      const client = await lab.client(gate, { localAddress })
      await client.send(
        'PROXY TCP4 127.0.0.9 10.0.0.1 1 2\r\n'.repeat(headers) + connectRequest('cgr.dev:443'),
      )
      expect((await client.reply()).phrase).toContain('malformed_request')
    }
    const [own] = await gate.audit.waitForDecisions(2)
    expect(own?.source?.ip).toBe('127.0.0.1')
  })

  test('stop() does not wait for balancers that say nothing', async () => {
    const { lab, gate } = await open({ limits: { drainTimeout: '8s' } })
    const client = await lab.client(gate)
    await until(() => gate.parts.gate.connections === 1, 'the connection')
    await gate.parts.gate.stop()
    expect(await client.ended()).not.toBe(undefined)
    expect(gate.parts.gate.connections).toBe(0)
  })
})

const hasHaproxy = spawnSync('haproxy', ['-v']).status === 0

describe.skipIf(!hasHaproxy)('behind the real haproxy', () => {
  test.each(['send-proxy', 'send-proxy-v2', 'send-proxy-v2-ssl'])('%s', async (option) => {
    const lab = await openLab()
    const gate = await lab.gate({
      listen: [{ address: '127.0.0.1:0', proxyProtocol: { from: ['127.0.0.1'] } }],
      clients: { allow: ['127.0.0.8/32'] },
    })
    const port = await freePort()
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-haproxy-'))
    const file = join(folder, 'haproxy.cfg')
    writeFileSync(
      file,
      `defaults
  mode tcp
  timeout connect 5s
  timeout client 20s
  timeout server 20s
listen gate
  bind 127.0.0.1:${port}
  server gate 127.0.0.1:${gate.port} ${option}
`,
    )
    const haproxy = spawn('haproxy', ['-db', '-f', file], { stdio: 'ignore' })
    onTestFinished(() => {
      haproxy.kill('SIGKILL')
      rmSync(folder, { recursive: true, force: true })
    })
    let client: RawClient | undefined
    for (let tries = 0; !client && tries < 100; tries += 1) {
      client = await RawClient.connect(port, { localAddress: '127.0.0.8' }).catch(() => undefined)
      if (!client) {
        await new Promise((resolve) => {
          setTimeout(resolve, 50)
        })
      }
    }
    if (!client) throw new Error('haproxy does not listen')
    const through = client
    onTestFinished(() => through.destroy())
    await through.send(connectRequest('cgr.dev:443'))
    expect((await through.reply()).status).toBe(200)
    await expectThrough(through, await clientHello('cgr.dev'))
    const records = await gate.audit.waitForDecisions(1)
    expect(records.find(({ event }) => event.action === 'tunnel-opened')).toMatchObject({
      source: { ip: '127.0.0.8', port: through.socket.localPort },
      sallyport: { via: { ip: '127.0.0.1' } },
    })
  })
})
