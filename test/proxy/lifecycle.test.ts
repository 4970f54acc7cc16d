/** How attempts end when somebody goes away: the client, the audit trail, the gate itself. */
import { describe, expect, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { addresses, after, NODATA } from '../support/dns-scripts.ts'
import { connectRequest, expectServed, expectThrough, openLab, PUBLIC } from '../support/lab.ts'

const REQUEST = connectRequest('cgr.dev:443')

describe('a client that resets', () => {
  test('in the middle of its head leaves one record', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send('CONNECT cgr.dev:443 HTTP/1.1\r\nHos')
    await until(() => gate.parts.gate.connections === 1, 'the connection')
    await new Promise((resolve) => {
      setTimeout(resolve, 30)
    })
    client.socket.resetAndDestroy()
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event).toMatchObject({ action: 'tunnel-failed', reason: 'client_gone' })
    await until(() => gate.parts.gate.connections === 0, 'the connection to end')
  })

  test('during DNS leaves one record, and no connection upstream', async () => {
    const lab = await openLab()
    const answered = Promise.withResolvers<void>()
    lab.dns.on('cgr.dev', 'A', after(answered.promise, addresses(60, PUBLIC))).on('cgr.dev', 'AAAA', NODATA)
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await until(() => lab.dns.queries.length === 2, 'the question')
    client.socket.resetAndDestroy()
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('client_gone')
    answered.resolve()
    await expectServed(lab, gate)
    expect(lab.wire.dialled).toHaveLength(1)
  })

  test('during the dial leaves one record, and gives its place back', async () => {
    const lab = await openLab()
    lab.wire.failures.set(PUBLIC, 'silence')
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await until(() => lab.wire.dialled.length === 1, 'the dial')
    client.socket.resetAndDestroy()
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('client_gone')
    expect(gate.parts.tunnels.ofClient('127.0.0.1')).toBe(0)
  })

  test('after the 200, before its ClientHello, leaves one record, and the host sees the end', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    expect((await client.reply()).status).toBe(200)
    client.socket.resetAndDestroy()
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event.reason).toBe('client_gone')
    await until(() => lab.upstream.open === 0, 'the connection upstream to end')
    expect(lab.upstream.received).toEqual([Buffer.alloc(0)])
  })

  test('mid stream ends the tunnel on both sides', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await client.reply()
    await expectThrough(client, await clientHello('cgr.dev'))
    client.socket.resetAndDestroy()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('client_reset')
    await until(() => lab.upstream.open === 0 && gate.parts.gate.connections === 0, 'everything to end')
  })
})

describe('when records cannot be written', () => {
  test('nothing opens, what is refused is still refused, and it goes on when they can', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    gate.audit.healthy = false
    const allowed = await lab.client(gate)
    await allowed.send(REQUEST)
    const reply = await allowed.reply()
    expect(reply.status).toBe(503)
    expect(reply.phrase).toContain('audit_unavailable')
    const denied = await lab.client(gate)
    await denied.send(connectRequest('cgr.dv:443'))
    expect((await denied.reply()).phrase).toContain('host_not_allowed')
    expect(lab.dns.queries).toEqual([])
    gate.audit.healthy = true
    await expectServed(lab, gate)
  })

  test('a tunnel whose opening was not written carries nothing', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    expect((await client.reply()).status).toBe(200)
    // Fails between the check before the dial and the record after the ClientHello.
    gate.audit.healthy = false
    await client.send(await clientHello('cgr.dev'))
    // A fatal alert, internal_error.
    expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, 80])
    expect(lab.upstream.received).toEqual([Buffer.alloc(0)])
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('audit_failed')
  })

  test('onError continue: tunnels open all the same', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ audit: { onError: 'continue' } })
    gate.audit.healthy = false
    await expectServed(lab, gate)
    expect(lab.upstream.connections).toBe(1)
  })
})

describe('stopping', () => {
  test('an open tunnel goes on, a new connection finds nobody, and the gate stops when the tunnel has ended', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await client.reply()
    const hello = await clientHello('cgr.dev')
    await expectThrough(client, hello)
    const stopped = gate.parts.gate.stop()
    await until(() => gate.parts.gate.draining, 'the drain')
    await expect(lab.client(gate)).rejects.toThrow(/ECONNREFUSED/)
    await expectThrough(client, Buffer.from('still here'))
    client.finish()
    await within(stopped, 'the gate to stop')
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
  })

  test('a request on a connection that was there before is told that the gate is draining', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send('CONNECT cgr.dev:443 HTTP/1.1\r\n')
    await until(() => lab.wire.accepted[0]?.spoke === true, 'its first line to arrive')
    const stopped = gate.parts.gate.stop()
    await client.send('Host: cgr.dev:443\r\n\r\n')
    const reply = await client.reply()
    expect(reply.status).toBe(503)
    expect(reply.phrase).toContain('draining')
    client.finish()
    await within(stopped, 'the gate to stop')
  })

  test('a connection that has said nothing does not hold it up, and leaves no record', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    await lab.client(gate)
    await until(() => gate.parts.gate.connections === 1, 'the connection')
    await within(gate.parts.gate.stop(), 'the gate to stop', 2000)
    expect(gate.audit.decisions).toEqual([])
  })

  test('a tunnel whose record is still being written when the time is over does not outlive the gate', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { drainTimeout: '50ms', idleTimeout: '1h' } })
    const written = Promise.withResolvers<boolean>()
    gate.audit.writing = written.promise
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await client.reply()
    await client.send(await clientHello('cgr.dev'))
    await gate.audit.waitForDecisions(1)
    const stopped = gate.parts.gate.stop()
    await until(() => client.socket.readableEnded || client.socket.destroyed, 'the client to be closed')
    written.resolve(true)
    await within(stopped, 'the gate to stop')
    expect(gate.audit.closings).toHaveLength(1)
    expect(gate.parts.gate.connections).toBe(0)
  })

  test('what is still open at limits.drainTimeout is closed and recorded', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { drainTimeout: '80ms' } })
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await client.reply()
    await expectThrough(client, await clientHello('cgr.dev'))
    await within(gate.parts.gate.stop(), 'the gate to stop')
    await client.ended()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('drain_timeout')
    expect(gate.parts.gate.connections).toBe(0)
  })

  test('a second stop in the same breath does not wait', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { drainTimeout: '1h' } })
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await client.reply()
    await expectThrough(client, await clientHello('cgr.dev'))
    const stopped = gate.parts.gate.stop()
    void gate.parts.gate.stop()
    await within(stopped, 'the gate to stop')
    expect(gate.parts.gate.connections).toBe(0)
  })

  test('an attempt under way when the gate stops still leaves its record', async () => {
    const lab = await openLab()
    lab.wire.failures.set(PUBLIC, 'silence')
    const gate = await lab.gate({ limits: { drainTimeout: '0s' } })
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await until(() => lab.wire.dialled.length === 1, 'the dial')
    await within(gate.parts.gate.stop(), 'the gate to stop')
    expect(gate.audit.decisions.map(({ event }) => event.reason)).toEqual(['client_gone'])
  })
})

test('sequence numbers have no gaps, whatever happens', async () => {
  const lab = await openLab()
  const gate = await lab.gate()
  for (const request of [
    REQUEST,
    connectRequest('cgr.dv:443'),
    'GET / HTTP/1.1\r\n\r\n',
    'garbage\r\n',
    REQUEST,
  ]) {
    const client = await lab.client(gate)
    await client.send(request)
    const { status } = await client.reply()
    if (status === 200) await expectThrough(client, await clientHello('cgr.dev'))
    client.finish()
    await client.ended()
  }
  await gate.audit.waitForClosings(2)
  const sequences = gate.audit.records.map(({ event }) => event.sequence)
  expect(sequences).toEqual(sequences.map((_, index) => index + 1))
})
