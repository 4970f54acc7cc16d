/** `policy.ipLiterals: verify-sni`: an address is reached only when the ClientHello and DNS both vouch for it. */
import { describe, expect, test } from 'vitest'
import { addresses } from '../support/dns-scripts.ts'
import { clientHello } from '../support/client-hello.ts'
import { connectRequest, expectThrough, openLab, PUBLIC, type Lab } from '../support/lab.ts'
import type { TestGate } from '../support/gate.ts'
import type { RawClient } from '../support/raw-client.ts'

const VERIFY = { policy: { ipLiterals: 'verify-sni' } }
const ACCESS_DENIED = 49
const INTERNAL_ERROR = 80
const UNRECOGNIZED_NAME = 112

async function connectTo(lab: Lab, gate: TestGate, target: string): Promise<RawClient> {
  const client = await lab.client(gate)
  await client.send(connectRequest(target))
  expect((await client.reply()).status).toBe(200)
  return client
}

/** A fatal alert with that description, and nothing else. */
async function expectAlert(client: RawClient, description: number): Promise<void> {
  expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, description])
}

describe('opens', () => {
  test('when the ClientHello names an allowed host that has this address', async () => {
    const lab = await openLab()
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, `${PUBLIC}:443`)
    expect(lab.wire.dialled).toEqual([])
    await expectThrough(client, await clientHello('cgr.dev'))
    expect(lab.wire.dialled).toEqual([{ address: PUBLIC, port: 443 }])
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({
      event: { action: 'tunnel-opened', reason: 'allowed' },
      destination: { ip: PUBLIC, port: 443 },
      rule: { name: 'cgr.dev:443' },
      tls: { client: { server_name: 'cgr.dev' } },
      sallyport: { dns: { answers: [PUBLIC], source: 'miss' } },
    })
    client.finish()
    await gate.audit.waitForClosings(1)
  })

  test('whatever way an IPv6 address is spelled', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'AAAA', addresses(60, '2606:4700:4700::1111'))
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, '[2606:4700:4700:0:0:0:0:1111]:443')
    await expectThrough(client, await clientHello('cgr.dev'))
    expect(lab.wire.dialled).toHaveLength(1)
  })

  test('with the ClientHello in single bytes', async () => {
    const lab = await openLab()
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, `${PUBLIC}:443`)
    const hello = await clientHello('cgr.dev')
    await client.send(...[...hello.subarray(0, 300)].map((byte) => Buffer.from([byte])), hello.subarray(300))
    expect((await client.bytes(hello.length)).equals(hello)).toBe(true)
  })
})

describe('is refused with an alert, and nobody is dialled', () => {
  const cases: readonly [string, string, string | undefined, string, number][] = [
    ['an address of somebody else', '9.9.9.9:443', 'cgr.dev', 'ip_not_proven', UNRECOGNIZED_NAME],
    ['a name that no rule allows', `${PUBLIC}:443`, 'evil.test', 'host_not_allowed', ACCESS_DENIED],
    ['a port that the rule does not name', `${PUBLIC}:8443`, 'cgr.dev', 'port_not_allowed', ACCESS_DENIED],
    ['no name', `${PUBLIC}:443`, undefined, 'sni_missing', 109],
    ['metadata', '169.254.169.254:443', 'cgr.dev', 'ip_not_proven', UNRECOGNIZED_NAME],
  ]
  test.each(cases)('%s', async (_what, target, serverName, code, alert) => {
    const lab = await openLab()
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, target)
    await client.send(await clientHello(serverName))
    await expectAlert(client, alert)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event).toMatchObject({ action: 'tunnel-denied', reason: code })
    expect(lab.wire.dialled).toEqual([])
  })

  test('a denied name never reaches DNS', async () => {
    const lab = await openLab()
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, `${PUBLIC}:443`)
    await client.send(await clientHello('evil.test'))
    await client.ended()
    expect(lab.dns.queries).toEqual([])
  })

  test('an internal address that the resolver gives for the host', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', addresses(60, '10.0.0.1'))
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, '10.0.0.1:443')
    await client.send(await clientHello('cgr.dev'))
    await expectAlert(client, ACCESS_DENIED)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('address_prohibited')
    expect(lab.wire.dialled).toEqual([])
  })

  test('a host that refuses the connection, after it was proven', async () => {
    const lab = await openLab()
    lab.wire.failures.set(PUBLIC, 'refused')
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, `${PUBLIC}:443`)
    await client.send(await clientHello('cgr.dev'))
    await expectAlert(client, INTERNAL_ERROR)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event).toMatchObject({ action: 'tunnel-failed', reason: 'connect_refused' })
  })

  test('a client that goes away while it should prove itself', async () => {
    const lab = await openLab()
    const gate = await lab.gate(VERIFY)
    const client = await connectTo(lab, gate, `${PUBLIC}:443`)
    client.destroy()
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('client_gone')
    expect(lab.wire.dialled).toEqual([])
  })

  test('a client that says nothing', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ ...VERIFY, limits: { helloTimeout: '60ms' } })
    const client = await connectTo(lab, gate, `${PUBLIC}:443`)
    await expectAlert(client, 40)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('hello_timeout')
  })
})

test('policy.sni: off does not loosen the proof', async () => {
  const lab = await openLab()
  const gate = await lab.gate({ policy: { ipLiterals: 'verify-sni', sni: 'off' } })
  const client = await connectTo(lab, gate, '9.9.9.9:443')
  await client.send(await clientHello('cgr.dev'))
  await expectAlert(client, UNRECOGNIZED_NAME)
  expect(lab.wire.dialled).toEqual([])
})

test('mode report lets an unproven address through, and records what enforce would say', async () => {
  const lab = await openLab()
  const gate = await lab.gate({ policy: { ipLiterals: 'verify-sni', mode: 'report' } })
  const client = await connectTo(lab, gate, '9.9.9.9:443')
  await expectThrough(client, await clientHello('cgr.dev'))
  const [record] = await gate.audit.waitForDecisions(1)
  expect(record).toMatchObject({
    event: { action: 'tunnel-opened' },
    sallyport: { would_deny: 'ip_not_proven' },
  })
})

test('mode report does not lift the address guard', async () => {
  const lab = await openLab()
  const gate = await lab.gate({ policy: { ipLiterals: 'verify-sni', mode: 'report' } })
  const client = await connectTo(lab, gate, '169.254.169.254:443')
  await client.send(await clientHello('cgr.dev'))
  await expectAlert(client, ACCESS_DENIED)
  expect(lab.wire.dialled).toEqual([])
})

test('denied, the reply says what to do', async () => {
  const lab = await openLab()
  const gate = await lab.gate()
  const client = await lab.client(gate)
  await client.send(connectRequest(`${PUBLIC}:443`))
  const reply = await client.reply()
  expect(reply.status).toBe(403)
  expect(reply.phrase).toContain('ip_literal, connect by host name: upgrade chainctl, or allow verify-sni')
})
