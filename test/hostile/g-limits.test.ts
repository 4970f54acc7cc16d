/** Table G, first half: clients that wait, take too much, vanish or stop reading, and hosts that do not answer. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { DivertedWire } from '../support/diverted-wire.ts'
import { addresses, after } from '../support/dns-scripts.ts'
import type { TestGate } from '../support/gate.ts'
import { connectRequest, expectThrough, openLab, PUBLIC, type Lab } from '../support/lab.ts'
import type { RawClient } from '../support/raw-client.ts'
import { testWire } from '../support/test-wire.ts'
import { expectNextServed, expectOneDecision, expectReply, type Verdict } from './verdict.ts'

const REQUEST = connectRequest('cgr.dev:443')
const HEAD_TIMEOUT: Verdict = { status: 408, code: 'head_timeout' }

const sleep = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms)
  })

async function openTunnel(lab: Lab, gate: TestGate, options?: { localAddress?: string }): Promise<RawClient> {
  const client = await lab.client(gate, options)
  await client.send(REQUEST)
  expect((await client.reply()).status).toBe(200)
  await expectThrough(client, await clientHello('cgr.dev'))
  return client
}

/** Everything is as it was before anybody came. */
async function expectAtRest(lab: Lab, gate: TestGate): Promise<void> {
  await until(() => gate.parts.gate.connections === 0 && lab.upstream.open === 0, 'every connection to close')
  expect(gate.parts.tunnels.size).toBe(0)
  expect(gate.parts.tunnels.ofClient('127.0.0.1')).toBe(0)
}

describe('slow heads', () => {
  test.each([
    ['G1', 'says nothing', ''],
    ['G2', 'sends a byte now and then', 'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev:443\r\nX: '.repeat(9)],
  ])('%s a client that %s: 408 within the limit + 1 s', async (_id, _what, text) => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { headTimeout: '400ms' } })
    const took: number[] = []
    // The quickest of some is a fact about the gate; the slowest would be one about the machine.
    for (let attempt = 1; attempt <= 4; attempt += 1) {
      const startMs = performance.now()
      const client = await lab.client(gate)
      let at = 0
      const trickle = setInterval(() => {
        if (at < text.length) client.socket.write(text.slice(at, at + 1))
        at += 1
      }, 40)
      try {
        await expectReply(client, HEAD_TIMEOUT)
      } finally {
        clearInterval(trickle)
      }
      took.push(performance.now() - startMs)
    }
    const decisions = await gate.audit.waitForDecisions(4)
    expect(decisions.map(({ event }) => event.reason)).toEqual(
      Array.from({ length: 4 }, () => 'head_timeout'),
    )
    expect(Math.min(...took)).toBeGreaterThanOrEqual(390)
    expect(Math.min(...took)).toBeLessThan(1400)
    expect(lab.dns.queries).toEqual([])
    await expectAtRest(lab, gate)
  })
})

describe('places', () => {
  test('G3 N tunnels serve, the next gets 503, and one more serves when one has closed', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { connections: 8 } })
    const open = await Promise.all(Array.from({ length: 8 }, () => openTunnel(lab, gate)))
    const over = await lab.client(gate)
    await expectReply(over, { status: 503, code: 'too_many_connections' })
    await Promise.all(open.map((client) => expectThrough(client, Buffer.from('still here'))))
    open[3]?.finish()
    await until(() => gate.parts.tunnels.size === 7, 'one to close')
    await until(() => gate.parts.gate.connections === 7, 'its place to become free')
    open[3] = await openTunnel(lab, gate)
    await Promise.all(open.map((client) => expectThrough(client, Buffer.from('and still'))))
    const reasons = gate.audit.decisions.map(({ event }) => event.reason)
    expect(reasons.filter((reason) => reason === 'allowed')).toHaveLength(9)
    expect(reasons.filter((reason) => reason !== 'allowed')).toEqual(['too_many_connections'])
    for (const client of open) client.finish()
    await expectAtRest(lab, gate)
  })

  test('G4 one client that takes all it can: 503 too_many_tunnels for it alone', async () => {
    const lab = await openLab()
    const gate = await lab.gate({
      listen: '0.0.0.0:0',
      clients: { maxTunnelsPerClient: 4 },
      limits: { connections: 16 },
    })
    await Promise.all(Array.from({ length: 4 }, () => openTunnel(lab, gate)))
    for (let again = 0; again < 3; again += 1) {
      await expectReply(await lab.client(gate), { status: 503, code: 'too_many_tunnels' })
    }
    const others = ['127.0.0.2', '127.0.0.3', '127.0.0.4']
    await Promise.all(others.map((localAddress) => openTunnel(lab, gate, { localAddress })))
    expect(others.map((other) => gate.parts.tunnels.ofClient(other))).toEqual([1, 1, 1])
    expect(gate.parts.tunnels.ofClient('127.0.0.1')).toBe(4)
  })
})

test('G5 an idle tunnel is closed; one with a byte in time lives, and is closed when those end', async () => {
  const lab = await openLab()
  const gate = await lab.gate({ limits: { idleTimeout: '1500ms' } })
  const [idle, busy] = [await openTunnel(lab, gate), await openTunnel(lab, gate)]
  const beat = setInterval(() => busy.socket.write('.'), 300)
  try {
    await idle.ended()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('idle_timeout')
    await sleep(1700)
    expect(gate.parts.tunnels.size).toBe(1)
    expect(busy.received.length).toBeGreaterThan(3)
  } finally {
    clearInterval(beat)
  }
  await busy.ended()
  const closings = await gate.audit.waitForClosings(2)
  expect(closings.map(({ event }) => event.reason)).toEqual(['idle_timeout', 'idle_timeout'])
  await expectAtRest(lab, gate)
})

describe('G6 a client that resets', () => {
  test.each(['during DNS', 'during the dial', 'right after the 200', 'mid stream'] as const)(
    '%s, twenty at once',
    async (stage) => {
      const lab = await openLab()
      const answered = Promise.withResolvers<void>()
      if (stage === 'during DNS') lab.dns.on('cgr.dev', 'A', after(answered.promise, addresses(60, PUBLIC)))
      if (stage === 'during the dial') lab.wire.failures.set(PUBLIC, 'silence')
      const gate = await lab.gate()
      const hello = await clientHello('cgr.dev')
      const clients = await Promise.all(Array.from({ length: 20 }, () => lab.client(gate)))
      await Promise.all(
        clients.map(async (client) => {
          await client.send(REQUEST)
          if (stage === 'during DNS') await until(() => lab.dns.queries.length >= 2, 'the question')
          else if (stage === 'during the dial') await until(() => lab.wire.dialled.length >= 20, 'the dials')
          else await client.reply()
          if (stage === 'mid stream') await expectThrough(client, hello)
        }),
      )
      if (stage === 'during DNS')
        await until(() => gate.parts.tunnels.ofClient('127.0.0.1') === 20, 'every request to arrive')
      await sleep(20)
      for (const client of clients) client.socket.resetAndDestroy()
      const decisions = await gate.audit.waitForDecisions(20)
      expect(new Set(decisions.map(({ event }) => event.reason))).toEqual(
        new Set([stage === 'mid stream' ? 'allowed' : 'client_gone']),
      )
      answered.resolve()
      lab.wire.failures.clear()
      await until(() => gate.parts.gate.connections === 0 && lab.upstream.open === 0, 'both sides to close')
      const closings = await gate.audit.waitForClosings(stage === 'mid stream' ? 20 : 0)
      expect(closings.filter(({ event }) => event.reason !== 'client_reset')).toEqual([])
      await expectNextServed(lab, gate)
      expect(gate.audit.decisions).toHaveLength(21)
    },
  )
})

/** An upstream that reads only when it is told to, and counts what it reads. */
class Reader {
  readonly #hash = createHash('sha256')
  readonly sockets: Socket[] = []
  bytes = 0
  #reading = false
  #ended = false

  static async open(): Promise<{ reader: Reader; port: number }> {
    const reader = new Reader()
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, (socket) =>
      reader.#take(socket),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => {
      for (const socket of reader.sockets) socket.destroy()
      server.close()
    })
    const bound = server.address()
    return { reader, port: typeof bound === 'object' ? (bound?.port ?? 0) : 0 }
  }

  read(): void {
    this.#reading = true
    for (const socket of this.sockets) socket.resume()
  }

  /** Everything that came, once the other side has finished. */
  async hash(): Promise<string> {
    await until(() => this.#ended, 'the end of the upload', 60_000)
    return this.#hash.digest('hex')
  }

  #take(socket: Socket): void {
    this.sockets.push(socket)
    socket.on('error', () => undefined)
    socket.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length
      this.#hash.update(chunk)
    })
    socket.on('end', () => {
      this.#ended = true
      socket.end()
    })
    if (this.#reading) socket.resume()
  }
}

const MIB = 1024 * 1024

test(
  'G7 a host that does not read: what the gate holds is bounded; then it reads, and not a byte of 1 GiB is lost',
  { timeout: 90_000 },
  async () => {
    const lab = await openLab()
    const { reader, port } = await Reader.open()
    const gate = await lab.gate(
      { policy: { sni: 'off' } },
      { wire: new DivertedWire(await testWire(), port) },
    )
    const client = await lab.client(gate)
    await client.send(REQUEST)
    expect((await client.reply()).status).toBe(200)

    const piece = randomBytes(MIB)
    const sent = createHash('sha256')
    const before = process.memoryUsage().rss
    let taken = 0
    let progressMs = performance.now()
    /** Writes on whenever the socket takes more, as any program with backpressure does. */
    const pump = (): void => {
      while (taken < 1024) {
        taken += 1
        sent.update(piece)
        progressMs = performance.now()
        if (!client.socket.write(piece)) return
      }
      client.socket.end()
    }
    client.socket.on('drain', pump)
    pump()
    await until(() => performance.now() - progressMs > 700, 'the client to be held up', 30_000)
    // Socket buffers on three hops, and what the gate reads ahead.
    expect(taken).toBeLessThan(48)
    expect(process.memoryUsage().rss - before).toBeLessThan(96 * MIB)

    reader.read()
    const received = await reader.hash()
    expect(reader.bytes).toBe(1024 * MIB)
    expect(received).toBe(sent.digest('hex'))
    expect(process.memoryUsage().rss - before).toBeLessThan(256 * MIB)
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
    expect(closing?.source?.['bytes']).toBe(1024 * MIB)
  },
)

describe('G8 a side that finishes while bytes are on their way', () => {
  test('FIN of the client: the host still answers, to the last byte', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await openTunnel(lab, gate)
    const upload = randomBytes(4 * MIB)
    client.socket.end(upload)
    const echoed = await within(client.rest(), 'the answer')
    expect(echoed.equals(upload)).toBe(true)
    expect(await client.ended()).toBe('fin')
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
    await expectAtRest(lab, gate)
  })

  test('FIN of the host: the client may still send, to the last byte', async () => {
    const lab = await openLab()
    const { reader, port } = await Reader.open()
    const gate = await lab.gate(
      { policy: { sni: 'off' } },
      { wire: new DivertedWire(await testWire(), port) },
    )
    const client = await lab.client(gate)
    await client.send(REQUEST)
    expect((await client.reply()).status).toBe(200)
    await until(() => reader.sockets.length === 1, 'the connection upstream')
    const download = randomBytes(2 * MIB)
    reader.sockets[0]?.end(download)
    expect((await client.bytes(download.length)).equals(download)).toBe(true)
    const upload = randomBytes(4 * MIB)
    client.socket.end(upload)
    reader.read()
    expect(await reader.hash()).toBe(createHash('sha256').update(upload).digest('hex'))
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
  })

  test.each(['client', 'host'] as const)(
    'FIN of the %s, and silence: over after lingerTimeout',
    async (side) => {
      const lab = await openLab()
      const { reader, port } = await Reader.open()
      const gate = await lab.gate(
        { policy: { sni: 'off' }, limits: { lingerTimeout: '300ms', idleTimeout: '1h' } },
        { wire: new DivertedWire(await testWire(), port) },
      )
      const client = await lab.client(gate)
      await client.send(REQUEST)
      expect((await client.reply()).status).toBe(200)
      await until(() => reader.sockets.length === 1, 'the connection upstream')
      if (side === 'client') client.finish()
      else reader.sockets[0]?.end()
      const [closing] = await gate.audit.waitForClosings(1)
      expect(closing?.event.reason).toBe('linger_timeout')
      await until(() => gate.parts.gate.connections === 0, 'both sides to close')
    },
  )
})

describe('G9 a host that cannot be reached', () => {
  test.for([
    { what: 'a SYN that nobody answers', how: 'silence', count: 1, status: 504, code: 'connect_timeout' },
    { what: 'refused', how: 'refused', count: 1, status: 502, code: 'connect_refused' },
    { what: 'no route', how: 'unreachable', count: 1, status: 502, code: 'connect_unreachable' },
    { what: 'eight dead addresses', how: 'silence', count: 8, status: 504, code: 'connect_timeout' },
    { what: 'eight addresses that refuse', how: 'refused', count: 8, status: 502, code: 'connect_refused' },
  ] as const)('$what: $code', async ({ how, count, status, code }) => {
    const lab = await openLab()
    const hosts = Array.from({ length: count }, (_, i) => `8.8.${i + 100}.8`)
    lab.dns.on('cgr.dev', 'A', addresses(60, ...hosts))
    for (const host of hosts) lab.wire.failures.set(host, how)
    const gate = await lab.gate({ limits: { dialTimeout: '2500ms' } })
    const client = await lab.client(gate)
    const startMs = performance.now()
    await client.send(REQUEST)
    const { id } = await expectReply(client, { status, code })
    // One deadline for all of them, not one for each: eight would take twenty seconds, or the deadline of this wait.
    const took = performance.now() - startMs
    expect(took).toBeGreaterThanOrEqual(how === 'silence' ? 2490 : 0)
    expect(took).toBeLessThan(8 * 2500)
    const record = await expectOneDecision(gate, { status, code }, id)
    expect(record.sallyport.dial).toHaveLength(count)
    expect(lab.wire.dialled.map(({ address }) => address)).toEqual(hosts)
    await expectNextServed(lab, gate, 'registry.npmjs.org')
  })
})
