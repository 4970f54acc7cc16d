/** Records at a collector: a real HTTP server that answers well, badly, late or not at all. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { createJournal } from '../../src/audit/journal.ts'
import { OtlpOutlet } from '../../src/audit/otlp-outlet.ts'
import { QueuedSink, type QueuedSinkOptions } from '../../src/audit/queued-sink.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { systemClock } from '../../src/clock.ts'
import { AuditLog } from '../support/audit-log.ts'
import { until, within } from '../support/deadline.ts'

const attribute = z.strictObject({ key: z.string(), value: z.record(z.string(), z.unknown()) })
/** What the protocol's JSON encoding has of a logs request, as far as we write it. */
const request = z.strictObject({
  resourceLogs: z.tuple([
    z.strictObject({
      resource: z.strictObject({ attributes: z.array(attribute) }),
      scopeLogs: z.tuple([
        z.strictObject({
          scope: z.strictObject({ name: z.string(), version: z.string() }),
          logRecords: z.array(
            z.strictObject({
              timeUnixNano: z.string().regex(/^[0-9]{19}$/),
              observedTimeUnixNano: z.string().regex(/^[0-9]{19}$/),
              severityNumber: z.int(),
              severityText: z.string(),
              eventName: z.string(),
              body: z.strictObject({ stringValue: z.string() }),
              attributes: z.array(attribute),
            }),
          ),
        }),
      ]),
    }),
  ]),
})
type Request = z.infer<typeof request>

type Answer = (response: ServerResponse, count: number) => void
const well: Answer = (response) => response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
const status =
  (code: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    response.writeHead(code, headers).end('no')

class Collector {
  readonly requests: Request[] = []
  readonly headers: IncomingMessage['headers'][] = []
  readonly times: number[] = []
  /** One for each request that is still to come; then {@link well}. */
  readonly answers: Answer[] = []
  url = ''
  /** Hangs up on whoever connects. */
  away = false

  static async start(): Promise<Collector> {
    const collector = new Collector()
    const server = createServer((message, response) => {
      const chunks: Buffer[] = []
      message.on('data', (chunk: Buffer) => chunks.push(chunk))
      message.on('end', () => {
        const parsed = request.parse(JSON.parse(Buffer.concat(chunks).toString()))
        collector.requests.push(parsed)
        collector.headers.push(message.headers)
        collector.times.push(performance.now())
        const answer = collector.answers.shift() ?? well
        answer(response, logRecords(parsed).length)
      })
    })
    server.on('connection', (socket) => {
      if (collector.away) socket.resetAndDestroy()
    })
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    const bound = server.address()
    collector.url = `http://127.0.0.1:${typeof bound === 'object' && bound ? bound.port : 0}/v1/logs`
    return collector
  }

  /** The lines in all requests so far. */
  get lines(): readonly string[] {
    return this.requests
      .flatMap(logRecords)
      .map((record) => String(valueOf(record.attributes, 'log.record.original')))
  }
}

const logRecords = (sent: Request) => sent.resourceLogs[0].scopeLogs[0].logRecords
const valueOf = (attributes: readonly z.infer<typeof attribute>[], key: string): unknown =>
  Object.values(attributes.find((one) => one.key === key)?.value ?? {})[0]

interface Way {
  readonly sink: QueuedSink
  readonly lines: readonly string[]
  readonly told: readonly string[]
  record(count: number): void
}

function openWay(url: string, options: Partial<QueuedSinkOptions> = {}, timeoutMs = 5000): Way {
  const told: string[] = []
  const all = new AuditLog()
  const outlet = new OtlpOutlet({
    url,
    headers: { 'x-api-key': 'k' },
    timeoutMs,
    clock: systemClock,
    random: () => 0,
  })
  const sink = new QueuedSink({
    name: 'otlp',
    outlet,
    onTrouble: (code) => told.push(code),
    onRecovered: (lost) => told.push(`recovered ${lost}`),
    ...options,
  })
  const journal = createJournal({
    sinks: [all, sink],
    clock: systemClock,
    record: 'all',
    onError: 'continue',
    version: '1.2.3',
    nodeName: 'gate-1',
  })
  return {
    sink,
    lines: all.lines,
    told,
    record(count) {
      for (let i = 0; i < count; i += 1) {
        journal.record({
          kind: 'refused',
          refusal: refusal('host_not_allowed', { hint: { kind: 'typo', value: 'cgr.dev' } }),
          attempt: {
            id: `id-${i}`,
            client: { address: '127.0.0.1', port: 50_122 },
            startedMs: 0,
            policyHash: 'sha256:0',
            mode: 'enforce',
            target: { host: 'cgr.dv', port: 443, kind: 'name' },
          },
        })
      }
    },
  }
}

const bare = (lines: readonly string[]): string[] => lines.map((line) => line.trimEnd())
const flushed = (way: Way): Promise<boolean> => within(way.sink.flush(5000), 'the flush')

test('a record is one of the logs data model, with every field and its own line', async () => {
  const collector = await Collector.start()
  const way = openWay(collector.url)
  way.record(1)
  expect(await flushed(way)).toBe(true)
  const [sent] = collector.requests
  const [log] = sent ? logRecords(sent) : []
  expect(sent?.resourceLogs[0].resource.attributes).toEqual([
    { key: 'service.name', value: { stringValue: 'sallyport' } },
    { key: 'service.version', value: { stringValue: '1.2.3' } },
    { key: 'service.instance.id', value: { stringValue: 'gate-1' } },
  ])
  expect(log).toMatchObject({
    severityNumber: 13,
    severityText: 'WARN',
    eventName: 'tunnel-denied',
    body: { stringValue: 'denied cgr.dv:443 host_not_allowed, did you mean cgr.dev?' },
  })
  expect(log?.attributes).toEqual(
    expect.arrayContaining([
      { key: 'event.reason', value: { stringValue: 'host_not_allowed' } },
      { key: 'event.sequence', value: { intValue: '1' } },
      {
        key: 'event.type',
        value: { arrayValue: { values: [{ stringValue: 'connection' }, { stringValue: 'denied' }] } },
      },
      { key: 'destination.domain', value: { stringValue: 'cgr.dv' } },
      { key: 'log.record.original', value: { stringValue: way.lines[0]?.trimEnd() } },
    ]),
  )
  const ms = Date.parse(JSON.parse(way.lines[0] ?? '')['@timestamp'])
  expect(log?.timeUnixNano).toBe(`${ms}000000`)
  expect(collector.headers[0]).toMatchObject({ 'content-type': 'application/json', 'x-api-key': 'k' })
})

test('many go out in batches of 512, in order', async () => {
  const collector = await Collector.start()
  const way = openWay(collector.url)
  way.record(1300)
  expect(await flushed(way)).toBe(true)
  expect(collector.requests.map((sent) => logRecords(sent).length)).toEqual([512, 512, 276])
  expect(collector.lines).toEqual(bare(way.lines))
})

describe('what the specification says of answers', () => {
  test.each([429, 502, 503, 504])('%i: sent again, nothing lost', async (code) => {
    const collector = await Collector.start()
    collector.answers.push(status(code))
    const way = openWay(collector.url)
    way.record(5)
    await until(() => way.told.length === 2, 'the recovery')
    expect(way.told).toEqual([`HTTP ${code}`, 'recovered 0'])
    expect(collector.requests).toHaveLength(2)
    expect(collector.requests[1]?.resourceLogs[0].scopeLogs[0].logRecords).toHaveLength(5)
    expect(way.sink.lost).toBe(0)
  })

  test('later and later; and not before the server says', async () => {
    const collector = await Collector.start()
    collector.answers.push(status(503), status(503), status(503, { 'retry-after': '1' }))
    const way = openWay(collector.url)
    way.record(1)
    await until(() => way.told.length === 2, 'the recovery', 20_000)
    const waits = collector.times.slice(1).map((time, index) => time - (collector.times[index] ?? 0))
    // With nothing left to chance: half of 1 s, half of 2 s, and what the server asked for.
    expect(waits[0]).toBeGreaterThanOrEqual(495)
    expect(waits[1]).toBeGreaterThanOrEqual(995)
    expect(waits[2]).toBeGreaterThanOrEqual(995)
  })

  test.each([400, 401, 404, 413, 500, 501, 302])('%i: never sent again, counted as lost', async (code) => {
    const collector = await Collector.start()
    collector.answers.push(status(code, { location: '/elsewhere' }))
    const way = openWay(collector.url)
    way.record(5)
    await until(() => way.sink.lost === 5, 'the count')
    way.record(3)
    await until(() => way.told.length === 2, 'the recovery')
    expect(way.told).toEqual([`HTTP ${code}`, 'recovered 5'])
    expect(collector.lines.slice(-3)).toEqual(bare(way.lines).slice(-3))
    expect(collector.requests).toHaveLength(2)
  })

  test('a part refused: that part is lost, and nothing is sent again', async () => {
    const collector = await Collector.start()
    collector.answers.push((response) =>
      response.writeHead(200).end('{"partialSuccess":{"rejectedLogRecords":"2","errorMessage":"too old"}}'),
    )
    const way = openWay(collector.url)
    way.record(5)
    await until(() => way.sink.lost === 2, 'the count')
    expect(collector.requests).toHaveLength(1)
    expect(way.told).toEqual(['rejected'])
  })

  test('a server that refuses everything is not asked faster than there are records', async () => {
    const collector = await Collector.start()
    collector.answers.push(...Array.from({ length: 50 }, () => status(400)))
    const way: Way = openWay(collector.url, { onRecovered: () => way.record(1) })
    way.record(1)
    await until(() => way.sink.lost === 1, 'the count')
    for (let i = 0; i < 5; i += 1) way.record(1)
    await until(() => way.sink.lost === 6, 'the count')
    expect(collector.requests.length).toBeLessThanOrEqual(6)
    expect(way.told).toEqual(['HTTP 400'])
  })
})

describe('an outage', () => {
  test('loses what the queue cannot hold, counted exactly; the rest arrives when it is over', async () => {
    const collector = await Collector.start()
    collector.away = true
    const way = openWay(collector.url, { maxQueueBytes: 100_000, patient: true })
    way.record(1)
    await until(() => way.told.length > 0, 'the trouble')
    way.record(1000)
    const { lost } = way.sink
    expect(lost).toBeGreaterThan(500)
    collector.away = false
    await until(() => way.told.length > 1, 'the recovery')
    expect(way.told).toEqual(['ECONNRESET', `recovered ${lost}`])
    expect(collector.lines).toEqual(bare(way.lines.slice(0, 1001 - lost)))
  })

  test('a server that does not answer is given up, and asked again', async () => {
    const collector = await Collector.start()
    collector.answers.push(() => undefined)
    const way = openWay(collector.url, {}, 200)
    way.record(2)
    await until(() => way.told.length === 2, 'the recovery')
    expect(way.told).toEqual(['ETIMEDOUT', 'recovered 0'])
  })

  test('at the end there is one more try, however far off the next one was', async () => {
    const collector = await Collector.start()
    collector.answers.push(status(503, { 'retry-after': '20' }))
    const way = openWay(collector.url)
    way.record(4)
    await until(() => way.told.length > 0, 'the trouble')
    expect(await flushed(way)).toBe(true)
    expect(way.sink.lost).toBe(0)
    expect(collector.requests).toHaveLength(2)
  })

  test('what is undelivered at the end is counted', async () => {
    const collector = await Collector.start()
    collector.away = true
    const way = openWay(collector.url)
    way.record(7)
    expect(await flushed(way)).toBe(false)
    expect(way.sink.lost).toBe(7)
  })
})
