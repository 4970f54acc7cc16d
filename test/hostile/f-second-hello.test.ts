/**
 * Table F, on: a HelloRetryRequest has the client send a second ClientHello in clear, and servers go by the second. It is
 * held against the CONNECT host like the first, and waits until the host has answered that one.
 */
import { createServer as createTcpServer, type Socket } from 'node:net'
import { connect as connectTls, createServer as createTlsServer } from 'node:tls'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { RETRY_RANDOM } from '../../src/tls/server-hello.ts'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { DivertedWire } from '../support/diverted-wire.ts'
import type { TestGate } from '../support/gate.ts'
import { connectRequest, openLab, type Lab } from '../support/lab.ts'
import type { RawClient } from '../support/raw-client.ts'
import { selfSigned } from '../support/self-signed.ts'
import { testWire } from '../support/test-wire.ts'
import { helloRecord } from '../tls/hello-builder.ts'

/** A HelloRetryRequest, and the change_cipher_spec that servers send behind it. */
const RETRY = Buffer.concat([
  Buffer.from([22, 3, 3, 0, 88, 2, 0, 0, 84, 3, 3]),
  RETRY_RANDOM,
  Buffer.alloc(46, 1),
  Buffer.alloc(2),
  Buffer.from([20, 3, 3, 0, 1, 1]),
])
const CHANGE_CIPHER_SPEC = Buffer.from([20, 3, 3, 0, 1, 1])
const EARLY_DATA = Buffer.from([23, 3, 3, 0, 4, 1, 2, 3, 4])
const DONE = Buffer.from('done')

/** A host that answers the first ClientHello with a HelloRetryRequest, and tells what it was sent. */
class RetryingHost {
  readonly received: Buffer[] = []
  readonly port: number
  socket: Socket | undefined

  private constructor(port: number) {
    this.port = port
  }

  static async start(answers: boolean): Promise<RetryingHost> {
    const server = createTcpServer((socket) => {
      host.socket = socket
      socket.on('error', () => undefined)
      socket.on('data', (bytes: Buffer) => {
        if (host.received.length === 0 && answers) socket.write(RETRY)
        host.received.push(bytes)
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it listens on TCP
    const host = new RetryingHost((server.address() as AddressInfo).port)
    onTestFinished(() => {
      host.socket?.destroy()
      server.close()
    })
    return host
  }

  get bytes(): Buffer {
    return Buffer.concat(this.received)
  }
}

interface Scene {
  readonly lab: Lab
  readonly gate: TestGate
  readonly host: RetryingHost
  readonly client: RawClient
  readonly first: Buffer
}

/** A tunnel to a host that `answers` with a HelloRetryRequest; nothing has been sent through it yet. */
async function open({ answers = true, policy = {} } = {}): Promise<Scene> {
  const lab = await openLab()
  const host = await RetryingHost.start(answers)
  const gate = await lab.gate({ policy }, { wire: new DivertedWire(await testWire(), host.port) })
  const client = await lab.client(gate)
  await client.send(connectRequest('cgr.dev:443'))
  expect((await client.reply()).statusLine).toBe('HTTP/1.1 200 Connection established')
  return { lab, gate, host, client, first: await clientHello('cgr.dev') }
}

/** The first ClientHello is through; the second is asked for where the host `answers`. */
async function play({ answers = true, policy = {} } = {}): Promise<Scene> {
  const scene = await open({ answers, policy })
  await scene.client.send(scene.first)
  expect(await scene.client.bytes(answers ? RETRY.length : 0)).toEqual(answers ? RETRY : Buffer.alloc(0))
  return scene
}

async function expectEnd({ gate, host, client }: Scene, upstream: Buffer) {
  // unrecognized_name
  expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, 112])
  const [closing, ...more] = await gate.audit.waitForClosings(1)
  expect(more).toEqual([])
  expect(closing?.event).toMatchObject({
    action: 'tunnel-closed',
    reason: 'sni_changed',
    type: ['connection', 'end', 'denied'],
  })
  expect(closing?.source?.['bytes']).toBe(upstream.length)
  expect(gate.audit.decisions.map(({ event }) => event.reason)).toEqual(['allowed'])
  expect(host.bytes).toEqual(upstream)
  await until(() => gate.parts.gate.connections === 0, 'its place to become free')
  return closing?.event.reason
}

describe('the second ClientHello does not reach the host', () => {
  test.for<{ what: string; second: () => Promise<Buffer> | Buffer; passed?: Buffer }>([
    { what: 'names another host', second: () => clientHello('evil.test') },
    { what: 'names the other allowed host', second: () => clientHello('registry.npmjs.org') },
    { what: 'names none', second: () => clientHello() },
    { what: 'has no extensions', second: () => helloRecord({ extensions: null }) },
    {
      what: 'comes behind a change_cipher_spec',
      second: async () => Buffer.concat([CHANGE_CIPHER_SPEC, await clientHello('evil.test')]),
      passed: CHANGE_CIPHER_SPEC,
    },
    {
      what: 'comes behind early data',
      second: async () => Buffer.concat([EARLY_DATA, EARLY_DATA, await clientHello('evil.test')]),
      passed: Buffer.concat([EARLY_DATA, EARLY_DATA]),
    },
    {
      what: 'has another version in its record',
      second: async () => {
        const hello = await clientHello('evil.test')
        hello[1] = 9
        return hello
      },
    },
    { what: 'is another handshake message', second: () => Buffer.from([22, 3, 3, 0, 4, 11, 0, 0, 0]) },
  ])('F17 $what', async ({ second, passed = Buffer.alloc(0) }) => {
    const scene = await play()
    await scene.client.send(await second())
    expect(await expectEnd(scene, Buffer.concat([scene.first, passed]))).toBe('sni_changed')
  })

  test('F17 sent together with the first', async () => {
    const scene = await open()
    const { client, first } = scene
    await client.send(Buffer.concat([first, await clientHello('evil.test')]))
    expect(await client.bytes(RETRY.length)).toEqual(RETRY)
    expect(await expectEnd(scene, first)).toBe('sni_changed')
  })

  test('F17 in the record of the first', async () => {
    const { gate, host, client, first } = await open()
    const messages = [first, await clientHello('evil.test')].map((one) => one.subarray(5))
    const body = Buffer.concat(messages)
    await client.send(Buffer.concat([Buffer.from([22, 3, 1, body.length >> 8, body.length & 255]), body]))
    // decode_error
    expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, 50])
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event).toMatchObject({ action: 'tunnel-denied', reason: 'sni_malformed' })
    expect(host.bytes).toEqual(Buffer.alloc(0))
  })
})

describe('passes', () => {
  test.for<{ what: string; before: Buffer; cut: number }>([
    { what: 'whole', before: Buffer.alloc(0), cut: 65_536 },
    { what: 'behind a change_cipher_spec', before: CHANGE_CIPHER_SPEC, cut: 65_536 },
    { what: 'behind early data, in pieces', before: Buffer.concat([EARLY_DATA, CHANGE_CIPHER_SPEC]), cut: 7 },
  ])('F17 the same name again, $what', async ({ before, cut }) => {
    const { gate, host, client, first } = await play()
    const second = Buffer.concat([before, await clientHello('cgr.dev'), Buffer.from('and the rest')])
    for (let at = 0; at < second.length; at += cut) await client.send(second.subarray(at, at + cut))
    await until(() => host.bytes.length === first.length + second.length, 'all of it upstream')
    expect(host.bytes).toEqual(Buffer.concat([first, second]))
    host.socket?.end(DONE)
    expect(await client.bytes(DONE.length)).toEqual(DONE)
    client.finish()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('completed')
    expect(closing?.source?.['bytes']).toBe(first.length + second.length)
    expect(closing?.destination?.['bytes']).toBe(RETRY.length + DONE.length)
  })

  test('F17 a real client and a real server that disagree on the group at first', async () => {
    const server = createTlsServer({ ...selfSigned(), ecdhCurve: 'P-256', minVersion: 'TLSv1.3' }, (socket) =>
      socket.end('hello again'),
    )
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    onTestFinished(() => void server.close())
    const bound = server.address()
    const lab = await openLab()
    const wire = new DivertedWire(await testWire(), typeof bound === 'object' ? (bound?.port ?? 0) : 0)
    const gate = await lab.gate({}, { wire })
    const client = await lab.client(gate)
    await client.send(connectRequest('cgr.dev:443'))
    await client.reply()
    const socket = connectTls({
      socket: client.socket,
      servername: 'cgr.dev',
      rejectUnauthorized: false,
      ecdhCurve: 'X25519:P-256',
    })
    onTestFinished(() => void socket.destroy())
    const said = await within(once(socket, 'data'), 'the greeting')
    expect(String(said[0])).toBe('hello again')
    // Only a HelloRetryRequest gets them there.
    expect(socket.getEphemeralKeyInfo()).toMatchObject({ name: 'prime256v1' })
  })
})

describe('while the host has not answered', () => {
  test('early data goes up, and a second hello waits', async () => {
    const { host, client, first } = await play({ answers: false })
    const more = Buffer.concat([EARLY_DATA, await clientHello('cgr.dev')])
    await client.send(more)
    await until(() => host.bytes.length === first.length + EARLY_DATA.length, 'the early data upstream')
    await new Promise((resolve) => {
      setTimeout(resolve, 50)
    })
    expect(host.bytes).toEqual(Buffer.concat([first, EARLY_DATA]))
    // No HelloRetryRequest: nobody would go by it.
    host.socket?.write(DONE)
    expect(await client.bytes(DONE.length)).toEqual(DONE)
    await until(() => host.bytes.length === first.length + more.length, 'the rest upstream')
  })

  test('handshake records without end are not kept without end', async () => {
    const scene = await play({ answers: false })
    const record = Buffer.concat([Buffer.from([22, 3, 3, 0x10, 0, 1]), Buffer.alloc(0xfff, 1)])
    for (let sent = 0; sent <= 16_384; sent += record.length) await scene.client.send(record)
    expect(await expectEnd(scene, scene.first)).toBe('sni_changed')
  })

  test.for<{ what: string; bytes: Buffer }>([
    { what: 'no record', bytes: DONE },
    { what: 'another handshake message', bytes: Buffer.from([22, 3, 3, 0, 4, 16, 0, 0, 0]) },
    { what: 'a header that is not whole', bytes: Buffer.from([23, 3, 3, 0]) },
  ])('what no server would go on after goes up at once: $what', async ({ bytes }) => {
    const { host, client, first } = await play({ answers: false })
    await client.send(bytes)
    await until(() => host.bytes.length === first.length + bytes.length, 'it upstream')
    expect(host.bytes).toEqual(Buffer.concat([first, bytes]))
  })

  test.for<{ how: string; leave: (client: RawClient) => void; code: string }>([
    { how: 'resets', leave: ({ socket }) => void socket.resetAndDestroy(), code: 'client_reset' },
    { how: 'closes', leave: (client) => client.destroy(), code: 'completed' },
  ])('the tunnel is listed, and a client that $how ends it', async ({ leave, code }) => {
    const { gate, client } = await play({ answers: false })
    await until(() => gate.parts.tunnels.size === 1, 'the tunnel')
    leave(client)
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event).toMatchObject({ action: 'tunnel-closed', reason: code })
    await until(() => gate.parts.gate.connections === 0, 'its place to become free')
    expect(gate.parts.tunnels.size).toBe(0)
  })
})

test('in report mode it passes', async () => {
  const { host, client, first } = await play({ policy: { mode: 'report' } })
  const second = await clientHello('evil.test')
  await client.send(second)
  await until(() => host.bytes.length === first.length + second.length, 'both upstream')
  expect(host.bytes).toEqual(Buffer.concat([first, second]))
})
