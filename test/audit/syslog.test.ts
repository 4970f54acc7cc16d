/** Records at a log server, mostly a real rsyslogd: what arrives, and what an outage, a restart and a sleeper do. */
import { connect, createServer, type Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import { describe, expect, onTestFinished, test } from 'vitest'
import { DatagramOutlet } from '../../src/audit/datagram-outlet.ts'
import { createJournal } from '../../src/audit/journal.ts'
import { QueuedSink, type Outlet, type QueuedSinkOptions } from '../../src/audit/queued-sink.ts'
import { StreamOutlet } from '../../src/audit/stream-outlet.ts'
import { countOctets, formatSyslog } from '../../src/audit/syslog-message.ts'
import { systemClock } from '../../src/clock.ts'
import { AuditLog } from '../support/audit-log.ts'
import { createAuthority } from '../support/certificates.ts'
import { until, within } from '../support/deadline.ts'
import { rsyslog, Rsyslog, rsyslogTls } from '../support/rsyslog.ts'

/** A port (tcpmux) that no test is given, and on which no machine serves. */
const NOBODY = 1
const FORMAT = { facility: 16, hostname: 'gate-1', pid: 42 }
const frame = (line: string): Buffer => countOctets(formatSyslog(line, FORMAT))

interface Way {
  readonly sink: QueuedSink
  /** All that was recorded. */
  readonly lines: readonly string[]
  readonly told: readonly string[]
  record(count: number, text?: string): void
}

/** A journal whose records go this way. */
function openWay(outlet: Outlet, options: Partial<QueuedSinkOptions> = {}): Way {
  const told: string[] = []
  const all = new AuditLog()
  const sink = new QueuedSink({
    name: 'syslog',
    outlet,
    retryMs: 50,
    onTrouble: (code) => told.push(code),
    onRecovered: (lost) => told.push(`recovered ${lost}`),
    ...options,
  })
  const journal = createJournal({
    sinks: [all, sink],
    clock: systemClock,
    record: 'all',
    onError: 'continue',
    version: '0.0.0',
    nodeName: 'gate-1',
  })
  onTestFinished(async () => {
    await sink.flush(0)
  })
  return {
    sink,
    lines: all.lines,
    told,
    record(count, text = '') {
      for (let i = 0; i < count; i += 1) {
        journal.record({
          kind: 'gate',
          action: 'gate-started',
          message: `é${text}`,
          policyHash: 'x',
          mode: 'enforce',
        })
      }
    },
  }
}

const tcp = (port: number | (() => number)): Outlet =>
  new StreamOutlet({
    connect: () => connect({ port: typeof port === 'number' ? port : port(), host: '127.0.0.1' }),
    frame,
    clock: systemClock,
  })
const bare = (lines: readonly string[]): string[] => lines.map((line) => line.trimEnd())
const flushed = (way: Way): Promise<boolean> => within(way.sink.flush(5000), 'the flush')

test('a message is as RFC 5424 has it, and its length is counted in octets', () => {
  const line =
    '{"log":{"level":"warn"},"@timestamp":"2026-11-23T08:51:19.123Z","event":{"action":"tunnel-denied"},"x":"é"}\n'
  const text = `<132>1 2026-11-23T08:51:19.123Z gate-1 sallyport 42 tunnel-denied - ${line.trimEnd()}`
  expect(formatSyslog(line, FORMAT).toString()).toBe(text)
  expect(countOctets(formatSyslog(line, FORMAT)).toString()).toBe(`${text.length + 1} ${text}`)
})

describe.skipIf(rsyslog.missing)(`a real rsyslogd${rsyslog.because}`, () => {
  const received = (server: Rsyslog): string[] => server.messages.map(({ line }) => line)

  test('over TCP gets every record, byte for byte and in order', async () => {
    const server = await Rsyslog.start()
    const way = openWay(tcp(server.port))
    way.record(2000)
    expect(await flushed(way)).toBe(true)
    await until(() => server.messages.length >= 2000, 'all messages')
    expect(received(server)).toEqual(bare(way.lines))
    expect(server.messages[0]?.header).toMatch(/^134 1 20[^ ]+ gate-1 sallyport gate-started$/)
    expect(way.sink.lost).toBe(0)
  })

  test('over UDP gets every record that fits a datagram', async () => {
    const server = await Rsyslog.start()
    const way = openWay(
      new DatagramOutlet({
        host: '127.0.0.1',
        port: server.port,
        format: (line) => formatSyslog(line, FORMAT),
      }),
    )
    way.record(50)
    way.record(1, 'x'.repeat(70_000))
    way.record(50)
    expect(await flushed(way)).toBe(true)
    await until(() => server.messages.length >= 100, 'all messages')
    expect(received(server)).toEqual(bare(way.lines).filter((line) => line.length < 65_000))
    expect(way.sink.lost).toBe(1)
    expect(way.told[0]).toBe('EMSGSIZE')
  })

  test.skipIf(rsyslogTls.missing)(
    `over its own TLS gets every record; where its certificate is not trusted it gets none${rsyslogTls.because}`,
    async () => {
      const authority = createAuthority({ commonName: 'logs' })
      const issued = authority.issue({ commonName: 'logs.example', dnsNames: ['logs.example'] })
      const server = await Rsyslog.start({ ...issued, ca: authority.cert })
      const { port } = server
      const tls = (ca: string, servername: string): Outlet =>
        new StreamOutlet({
          connect: () => connectTls({ port, host: '127.0.0.1', ca, servername }),
          frame,
          clock: systemClock,
        })
      const way = openWay(tls(authority.cert, 'logs.example'))
      way.record(500)
      expect(await flushed(way)).toBe(true)
      await until(() => received(server).length >= 500, 'all messages')
      expect(received(server)).toEqual(bare(way.lines))

      const strange = openWay(tls(createAuthority({ commonName: 'other' }).cert, 'logs.example'))
      strange.record(3)
      await until(() => strange.told.length > 0, 'the trouble')
      const misnamed = openWay(tls(authority.cert, 'other.example'))
      misnamed.record(3)
      await until(() => misnamed.told.length > 0, 'the trouble')
      expect([strange.told[0], misnamed.told[0]]).toEqual([
        expect.stringMatching(/UNABLE_TO_VERIFY|SELF_SIGNED/),
        'ERR_TLS_CERT_ALTNAME_INVALID',
      ])
      await strange.sink.flush(0)
      expect(strange.sink.lost).toBe(3)
      expect(received(server)).toHaveLength(500)
    },
  )

  test.each<NodeJS.Signals>(['SIGTERM', 'SIGKILL'])(
    'that ends with %s and comes again has every record; some twice, none never',
    async (signal) => {
      const server = await Rsyslog.start()
      const way = openWay(tcp(server.port))
      way.record(100)
      await until(() => server.messages.length >= 100, 'the first messages')
      // What it has been handed and may not have read.
      way.record(100)
      await server.stop(signal)
      way.record(100)
      await until(() => way.told.length > 0, 'the trouble')
      await server.start()
      way.record(100)
      await until(() => new Set(received(server)).size === 400, 'all messages')
      const firsts = [...new Set(received(server))]
      expect(firsts).toEqual(bare(way.lines))
      expect(way.sink.lost).toBe(0)
      expect(way.told.at(-1)).toBe('recovered 0')
    },
  )

  test('that was away when nothing more was to be sent gets the last records again without being asked', async () => {
    const server = await Rsyslog.start()
    const way = openWay(tcp(server.port))
    way.record(10)
    await until(() => server.messages.length >= 10, 'the first messages')
    await server.stop('SIGKILL')
    await server.start()
    await until(() => server.messages.length >= 20, 'the same messages again')
    expect(received(server)).toEqual([...bare(way.lines), ...bare(way.lines)])
  })
})

describe('a server that nobody can rely on', () => {
  test('is not there: what the queue cannot hold is counted exactly, and the rest goes out later', async () => {
    let port = NOBODY
    const way = openWay(
      tcp(() => port),
      { maxQueueBytes: 100_000, patient: true },
    )
    way.record(1)
    await until(() => way.told.length > 0, 'the trouble')
    // Nothing is lost yet, and nobody waits.
    expect(way.sink.healthy).toBe(true)
    expect(await way.sink.written(0)).toBe(true)
    way.record(1000)
    expect(way.sink.healthy).toBe(false)
    const { lost } = way.sink
    const taken = 1001 - lost
    expect(lost).toBeGreaterThan(500)
    const { got, port: own } = await collect()
    port = own
    await until(() => way.told.length > 1, 'the recovery')
    expect(way.told).toEqual(['ECONNREFUSED', `recovered ${lost}`])
    await until(() => got().length === taken, 'what was queued')
    expect(got()).toEqual(bare(way.lines.slice(0, taken)))
    expect(way.sink.healthy).toBe(true)
  })

  test('never reads: nobody waits for it, and what it did not get is counted at the end', async () => {
    const sockets: Socket[] = []
    const server = createServer((socket) => sockets.push(socket.pause()))
    const port = await listen(server)
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
    })
    const outlet = tcp(port)
    let delivered = 0
    const counting: Outlet = {
      send: (lines, done) =>
        outlet.send(lines, (sent) => {
          delivered += sent.delivered
          done(sent)
        }),
      close: (timeoutMs) => outlet.close?.(timeoutMs) ?? Promise.resolve(true),
    }
    const way = openWay(counting, { maxQueueBytes: 20_000_000, patient: true })
    way.record(400, 'x'.repeat(40_000))
    expect(await within(way.sink.written(3_600_000), 'what nobody waits for')).toBe(true)
    await until(() => delivered > 0, 'what the system takes')
    expect(await within(way.sink.flush(300), 'the flush')).toBe(false)
    expect(way.sink.lost).toBe(400 - delivered)
    expect(way.sink.lost).toBeGreaterThan(0)
  })
})

/** A server that takes apart what it gets, by the counts. */
async function collect(): Promise<{ readonly port: number; readonly got: () => readonly string[] }> {
  let bytes = Buffer.alloc(0)
  const server = createServer((socket) => {
    socket.on('data', (chunk: Buffer) => {
      bytes = Buffer.concat([bytes, chunk])
    })
    socket.on('error', () => undefined)
  })
  const port = await listen(server)
  const got = (): readonly string[] => {
    const lines: string[] = []
    for (let at = 0; at < bytes.length;) {
      const space = bytes.indexOf(' ', at)
      const end = space + 1 + Number(bytes.toString('latin1', at, space))
      const message = bytes.toString('utf8', space + 1, end)
      lines.push(message.slice(message.indexOf(' {') + 1))
      at = end
    }
    return lines
  }
  return { port, got }
}

/** Open until the running test ends. */
function listen(server: ReturnType<typeof createServer>): Promise<number> {
  const sockets = new Set<Socket>()
  server.on('connection', (socket: Socket) => sockets.add(socket))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', () => {
      const bound = server.address()
      resolve(typeof bound === 'object' && bound ? bound.port : 0)
    })
  })
}
