/**
 * Three readers, one meaning: our parser, the package read-tls-client-hello, and a TLS server of Node. A hello that ours
 * takes for one to `cgr.dev`, and a server for one to somewhere else, would be a way around the policy.
 */
import { createServer, connect as connectTcp } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import { once } from 'node:events'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { ClientHelloParser, MAX_HELLO_BYTES, type HelloResult } from '../../src/tls/client-hello.ts'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { generatedHello, mutatedBytes, slices } from './hello-generators.ts'
import { openTlsJudge, readByPackage, type Reading, type TlsJudge } from './hello-judges.ts'
import { inRecords } from './hello-builder.ts'

let judge: TlsJudge
beforeAll(async () => {
  judge = await openTlsJudge()
})
afterAll(() => judge.close())

function parse(pieces: readonly Buffer[]): HelloResult {
  const parser = new ClientHelloParser()
  let result: HelloResult = { kind: 'incomplete' }
  for (const piece of pieces) {
    result = parser.push(piece)
    if (result.kind !== 'incomplete') return result
  }
  return result
}

const nameIn = (reading: Reading): string | undefined =>
  reading.kind === 'read' ? reading.serverName?.toLowerCase() : undefined

/** The handshake message alone, out of whatever records it came in. */
function unwrap(wire: Buffer): Buffer {
  const parts: Buffer[] = []
  for (let at = 0; at + 5 <= wire.length; at += 5 + wire.readUInt16BE(at + 3)) {
    parts.push(wire.subarray(at + 5, at + 5 + wire.readUInt16BE(at + 3)))
  }
  return Buffer.concat(parts)
}

test(
  'well-formed hellos, in any segments and records: all three read the same name',
  { timeout: 120_000 },
  async () => {
    let named = 0
    await fc.assert(
      fc.asyncProperty(generatedHello, slices, slices, async (hello, records, segments) => {
        const wire = Buffer.concat(hello.cut(records).map((piece) => inRecords(piece)))
        // Headers count: a large hello in the smallest records is over the limit, and refused as that.
        fc.pre(wire.length <= MAX_HELLO_BYTES)
        const pieces = hello.cutBytes(wire, segments)
        const ours = parse(pieces)
        const expected = hello.serverName?.toLowerCase()
        expect(ours).toMatchObject({ kind: 'hello', serverName: expected, alpn: hello.alpn.slice(0, 8) })
        expect(nameIn(await readByPackage(inRecords(hello.message)))).toBe(expected)
        const theirs = await judge.judge(pieces)
        expect(theirs.kind).not.toBe('refused')
        expect(nameIn(theirs)).toBe(expected)
        if (expected !== undefined) named += 1
      }),
      { numRuns: 300 },
    )
    expect(named).toBeGreaterThan(150)
  },
)

test('mutated hellos: where ours reads a name, nobody reads another', { timeout: 120_000 }, async () => {
  const counts = { compared: 0, refusedByUs: 0, refusedByServer: 0 }
  await fc.assert(
    fc.asyncProperty(mutatedBytes, async (wire) => {
      const ours = parse([wire])
      const server = await judge.judge([wire], 30)
      if (server.kind === 'refused') counts.refusedByServer += 1
      if (ours.kind !== 'hello') {
        counts.refusedByUs += 1
        return
      }
      counts.compared += 1
      const others = [server, await readByPackage(inRecords(unwrap(wire)))]
      const names = others.filter(({ kind }) => kind === 'read').map(nameIn)
      expect(names.filter((name) => name !== ours.serverName)).toEqual([])
    }),
    { numRuns: 600 },
  )
  // Neither "refuses all" nor "accepts all" would prove anything.
  expect(counts.compared).toBeGreaterThan(60)
  expect(counts.refusedByUs).toBeGreaterThan(60)
  expect(counts.refusedByServer).toBeGreaterThan(60)
})

describe('hellos of real clients, cut anew on their way, still end in a secure connection to the name that ours reads', () => {
  test.for<{ what: string; options: ConnectionOptions; record: number; segment: number }>([
    { what: 'TLS 1.3, whole', options: {}, record: 16_384, segment: 65_536 },
    { what: 'TLS 1.3 in segments of one byte', options: {}, record: 16_384, segment: 1 },
    { what: 'TLS 1.3 in records of 60 bytes', options: {}, record: 60, segment: 65_536 },
    { what: 'TLS 1.2 in records of 50 bytes', options: { maxVersion: 'TLSv1.2' }, record: 50, segment: 9 },
    {
      what: 'post-quantum, in records of 400 and segments of 100 bytes',
      options: { ecdhCurve: 'X25519MLKEM768:X25519' },
      record: 400,
      segment: 100,
    },
    {
      what: 'with application protocols, in records of 100 bytes',
      options: { ALPNProtocols: ['h2', 'http/1.1'] },
      record: 100,
      segment: 33,
    },
  ])('$what', async ({ options, record, segment }) => {
    const readings: HelloResult[] = []
    // Between client and server: cuts the first record into others, and everything into segments.
    const between = createServer((near) => {
      const far = connectTcp({ port: judge.port, host: '127.0.0.1', noDelay: true })
      let first = Buffer.alloc(0)
      let passed = false
      near.on('data', (chunk: Buffer) => {
        if (passed) {
          far.write(chunk)
          return
        }
        first = Buffer.concat([first, chunk])
        if (first.length < 5 || first.length < 5 + first.readUInt16BE(3)) return
        passed = true
        const end = 5 + first.readUInt16BE(3)
        const wire = inRecords(first.subarray(5, end), record)
        const pieces = Array.from({ length: Math.ceil(wire.length / segment) }, (_, i) =>
          wire.subarray(i * segment, (i + 1) * segment),
        )
        readings.push(parse(pieces))
        for (const piece of pieces) far.write(piece)
        far.write(first.subarray(end))
      })
      far.pipe(near)
      for (const socket of [near, far]) socket.on('error', () => undefined)
      near.on('close', () => far.destroy())
    })
    between.listen(0, '127.0.0.1')
    await once(between, 'listening')
    onTestFinished(() => void between.close())
    const bound = between.address()
    const client = connectTls({
      ...options,
      port: typeof bound === 'object' ? (bound?.port ?? 0) : 0,
      host: '127.0.0.1',
      servername: 'cgr.dev',
      rejectUnauthorized: false,
    })
    onTestFinished(() => void client.destroy())
    const secure = judge.nextSecure()
    await within(once(client, 'secureConnect'), 'the handshake')
    expect(await secure).toBe('cgr.dev')
    await until(() => readings.length === 1, 'our reading')
    expect(readings[0]).toMatchObject({ kind: 'hello', serverName: 'cgr.dev' })
  })
})

test('a captured hello reads the same as a whole, for all three', async () => {
  const wire = await clientHello('registry.npmjs.org', { ecdhCurve: 'X25519MLKEM768' })
  const expected = 'registry.npmjs.org'
  expect(parse([wire])).toMatchObject({ kind: 'hello', serverName: expected })
  expect(nameIn(await readByPackage(wire))).toBe(expected)
  expect(nameIn(await judge.judge([wire]))).toBe(expected)
})
