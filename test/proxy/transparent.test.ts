/** The transparent listener: raw TLS comes in, and its ClientHello says where to. Then the same pipeline. */
import { describe, expect, test } from 'vitest'
import type { Wire } from '../../src/wire/types.ts'
import { addresses } from '../support/dns-scripts.ts'
import { clientHello } from '../support/client-hello.ts'
import { expectThrough, openLab, PUBLIC, type Lab, type LabSettings } from '../support/lab.ts'
import type { TestGate, TestGateOptions } from '../support/gate.ts'
import { RawClient } from '../support/raw-client.ts'

const ACCESS_DENIED = 49
const INTERNAL_ERROR = 80
const TRANSPARENT = { sallyport: { listener: 'transparent' } }

async function openGate(
  lab: Lab,
  settings: LabSettings = {},
  options: TestGateOptions = {},
): Promise<TestGate> {
  return lab.gate({ transparent: '127.0.0.1:0', ...settings }, options)
}

function redirected(gate: TestGate, options: { localAddress?: string } = {}): Promise<RawClient> {
  return RawClient.connect(gate.parts.gate.endpoints[1]?.port ?? 0, options)
}

/** A fatal alert with that description, and nothing else. */
async function expectAlert(client: RawClient, description: number): Promise<void> {
  expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, description])
}

describe('opens a tunnel to the host that the ClientHello names, on port 443', () => {
  test('and records it as any other, with the listener', async () => {
    const lab = await openLab()
    const gate = await openGate(lab)
    const client = await redirected(gate)
    await expectThrough(client, await clientHello('cgr.dev'))
    await expectThrough(client, Buffer.from('more'))
    expect(lab.wire.dialled).toEqual([{ address: PUBLIC, port: 443 }])
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({
      message: 'opened cgr.dev:443',
      event: { action: 'tunnel-opened', reason: 'allowed' },
      destination: { domain: 'cgr.dev', ip: PUBLIC, port: 443 },
      rule: { name: 'cgr.dev:443' },
      tls: { client: { server_name: 'cgr.dev' } },
      ...TRANSPARENT,
    })
    expect(record).not.toHaveProperty('http')
    client.finish()
    expect(await client.ended()).toBe('fin')
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
  })

  test('with the ClientHello in single bytes', async () => {
    const lab = await openLab()
    const client = await redirected(await openGate(lab))
    const hello = await clientHello('cgr.dev')
    await client.send(...[...hello.subarray(0, 300)].map((byte) => Buffer.from([byte])), hello.subarray(300))
    expect((await client.bytes(hello.length)).equals(hello)).toBe(true)
    client.destroy()
  })

  test('in mode report whatever the name, and says what would be denied', async () => {
    const lab = await openLab()
    lab.dns.on('other.test', 'any', addresses(60, PUBLIC))
    const gate = await openGate(lab, { policy: { mode: 'report' } })
    const client = await redirected(gate)
    await expectThrough(client, await clientHello('other.test'))
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({ sallyport: { would_deny: 'host_not_allowed' } })
    client.destroy()
  })

  test('with the policy that clients.rules give this client', async () => {
    const lab = await openLab()
    const rules = [{ name: 'ci', from: ['127.0.0.0/8'], policy: { allow: [{ host: 'registry.npmjs.org' }] } }]
    const gate = await openGate(lab, { clients: { rules } })
    const denied = await redirected(gate)
    await denied.send(await clientHello('cgr.dev'))
    await expectAlert(denied, ACCESS_DENIED)
    const allowed = await redirected(gate)
    await expectThrough(allowed, await clientHello('registry.npmjs.org'))
    const [, record] = await gate.audit.waitForDecisions(2)
    expect(record).toMatchObject({ sallyport: { client: 'ci' } })
    allowed.destroy()
  })
})

describe('refuses with an alert, and nobody is dialled', () => {
  const cases: readonly [string, () => Promise<Buffer>, string, number][] = [
    ['a name that no rule allows', () => clientHello('cgr.dv'), 'host_not_allowed', ACCESS_DENIED],
    ['no name', () => clientHello(), 'sni_missing', 109],
    ['HTTP', async () => Buffer.from('CONNECT cgr.dev:443 HTTP/1.1\r\n\r\n'), 'not_tls', 10],
    [
      'a hello without end',
      async () => Buffer.from([22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]),
      'hello_too_large',
      50,
    ],
  ]
  test.each(cases)('%s', async (_what, bytes, code, alert) => {
    const lab = await openLab()
    const gate = await openGate(lab)
    const client = await redirected(gate)
    await client.send(await bytes())
    await expectAlert(client, alert)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({ event: { action: 'tunnel-denied', reason: code }, ...TRANSPARENT })
    expect(lab.wire.dialled).toEqual([])
    expect(lab.dns.queries).toEqual([])
  })

  test('silence', async () => {
    const lab = await openLab()
    const gate = await openGate(lab, { limits: { helloTimeout: '200ms' } })
    await expectAlert(await redirected(gate), 40)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('hello_timeout')
  })

  test('a client outside clients.allow, and the record has the name that it wanted', async () => {
    const lab = await openLab()
    const gate = await openGate(lab, { clients: { allow: ['127.0.0.1/32'] } })
    const client = await redirected(gate, { localAddress: '127.0.0.2' })
    await client.send(await clientHello('cgr.dev'))
    await expectAlert(client, ACCESS_DENIED)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({
      event: { reason: 'client_not_allowed' },
      destination: { domain: 'cgr.dev', port: 443 },
    })
  })

  test('one tunnel too many', async () => {
    const lab = await openLab()
    const gate = await openGate(lab, { clients: { maxTunnelsPerClient: 1 } })
    const first = await redirected(gate)
    await expectThrough(first, await clientHello('cgr.dev'))
    const second = await redirected(gate)
    await second.send(await clientHello('cgr.dev'))
    await expectAlert(second, INTERNAL_ERROR)
    const [, record] = await gate.audit.waitForDecisions(2)
    expect(record).toMatchObject({ event: { reason: 'too_many_tunnels' }, ...TRANSPARENT })
    first.destroy()
  })

  test('a host that resolves to the inside', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', addresses(60, '10.0.0.1'))
    const gate = await openGate(lab)
    const client = await redirected(gate)
    await client.send(await clientHello('cgr.dev'))
    await expectAlert(client, ACCESS_DENIED)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('address_prohibited')
    expect(lab.wire.dialled).toEqual([])
  })
})

test('a connection that ends without a byte is no attempt', async () => {
  const lab = await openLab()
  const gate = await openGate(lab)
  const silent = await redirected(gate)
  silent.finish()
  await silent.ended()
  const client = await redirected(gate)
  await client.send(await clientHello('cgr.dv'))
  await client.ended()
  expect(await gate.audit.waitForDecisions(1)).toHaveLength(1)
})

test('the gate redirected to itself notices at the second turn', async () => {
  const lab = await openLab()
  let port = 0
  // What is dialled arrives at the transparent listener again, as a redirection without exemption would have it.
  const wire: Wire = {
    name: lab.wire.name,
    listen: (...args) => lab.wire.listen(...args),
    dial: () => lab.wire.direct('127.0.0.1', port),
    relay: (...args) => lab.wire.relay(...args),
    release: (connection) => lab.wire.release(connection),
  }
  const gate = await openGate(lab, {}, { wire })
  port = gate.parts.gate.endpoints[1]?.port ?? 0
  const client = await redirected(gate)
  await client.send(await clientHello('cgr.dev'))
  await expectAlert(client, INTERNAL_ERROR)
  const [, record] = await gate.audit.waitForDecisions(2)
  expect(record).toMatchObject({
    event: { action: 'tunnel-denied', reason: 'redirect_loop' },
    ...TRANSPARENT,
  })
  expect(gate.audit.lines.filter((line) => line.includes('tunnel-opened'))).toHaveLength(1)
})
