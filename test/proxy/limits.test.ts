/** What a client may take, and for how long. */
import { describe, expect, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { connectRequest, expectServed, expectThrough, openLab, type Lab } from '../support/lab.ts'
import type { TestGate } from '../support/gate.ts'
import type { RawClient } from '../support/raw-client.ts'

const REQUEST = connectRequest('cgr.dev:443')

async function openTunnel(lab: Lab, gate: TestGate): Promise<RawClient> {
  const client = await lab.client(gate)
  await client.send(REQUEST)
  expect((await client.reply()).status).toBe(200)
  await expectThrough(client, await clientHello('cgr.dev'))
  return client
}

describe('connections', () => {
  test('one over limits.connections is refused at once; when one ends, the next is served', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { connections: 2 } })
    const first = await openTunnel(lab, gate)
    await openTunnel(lab, gate)
    const third = await lab.client(gate)
    const reply = await third.reply()
    expect(reply.status).toBe(503)
    expect(reply.phrase).toContain('too_many_connections')
    third.finish()
    first.finish()
    await until(() => gate.parts.gate.connections === 1, 'a place to become free')
    await expectServed(lab, gate)
  })

  test('one client that has all its tunnels does not keep another from getting one', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ listen: '0.0.0.0:0', clients: { maxTunnelsPerClient: 1 } })
    const first = await openTunnel(lab, gate)
    const second = await lab.client(gate)
    await second.send(REQUEST)
    const reply = await second.reply()
    expect(reply.status).toBe(503)
    expect(reply.phrase).toContain('too_many_tunnels')

    const other = await lab.client(gate, { localAddress: '127.0.0.9' })
    await other.send(REQUEST)
    expect((await other.reply()).status).toBe(200)

    first.finish()
    await until(() => gate.parts.tunnels.ofClient('127.0.0.1') === 0, 'its place to become free')
    await openTunnel(lab, gate)
  })

  test('a client outside clients.allow is refused, and what it wanted is recorded', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ clients: { allow: ['192.0.2.0/24'] } })
    const client = await lab.client(gate)
    await client.send(REQUEST)
    const reply = await client.reply()
    expect(reply.status).toBe(403)
    expect(reply.phrase).toMatch(/client_not_allowed, from 127\.0\.0\.1 /)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.sallyport.target).toBe('cgr.dev:443')
    expect(lab.dns.queries).toEqual([])
  })

  test('a port check that says nothing leaves no record', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    client.finish()
    await client.ended()
    await expectServed(lab, gate)
    expect(gate.audit.decisions).toHaveLength(1)
  })
})

describe('time', () => {
  test.each([
    ['says nothing', []],
    ['stops in the middle of the head', ['CONNECT cgr.dev:443 HTTP/1.1\r\nHos']],
  ])('a client that %s gets a 408', async (_, segments) => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { headTimeout: '80ms' } })
    const client = await lab.client(gate)
    await client.send(...segments)
    expect((await client.reply()).phrase).toContain('head_timeout')
    await client.ended()
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('head_timeout')
  })

  test('a trickle does not stretch the time for the head', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { headTimeout: '150ms' } })
    const client = await lab.client(gate)
    const trickle = setInterval(() => client.socket.write('X'), 20)
    try {
      expect((await client.reply()).phrase).toContain('head_timeout')
    } finally {
      clearInterval(trickle)
    }
  })

  test('a tunnel in use is closed at limits.maxAge, and says so in its closing record', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { maxAge: '1s' } })
    const client = await openTunnel(lab, gate)
    const stream = setInterval(() => client.socket.write('still here'), 10)
    try {
      await client.ended()
    } finally {
      clearInterval(stream)
    }
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('max_age')
  })

  test('an idle tunnel is closed and says so in its closing record', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { idleTimeout: '1s' } })
    const client = await openTunnel(lab, gate)
    await client.ended()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('idle_timeout')
    expect(gate.parts.tunnels.size).toBe(0)
  })

  test('a dial that nobody answers ends at its deadline', async () => {
    const lab = await openLab()
    lab.wire.failures.set('8.8.8.8', 'silence')
    const gate = await lab.gate({ limits: { dialTimeout: '80ms' } })
    const client = await lab.client(gate)
    await client.send(REQUEST)
    const reply = await client.reply()
    expect(reply.status).toBe(504)
    expect(reply.phrase).toContain('connect_timeout')
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.sallyport.dial).toMatchObject([{ ip: '8.8.8.8', result: 'no answer' }])
  })
})
