/** What every wire promises, on real sockets. A new wire joins by standing in this list. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { isSupportedPlatform, loadLibc } from '../../src/wire/kernel/libc.ts'
import { createKernelWire } from '../../src/wire/kernel/wire.ts'
import { createPortableWire } from '../../src/wire/portable/wire.ts'
import type { CloseCode } from '../../src/policy/reasons.ts'
import type { Connection, Listener, RelayLimits, Wire } from '../../src/wire/types.ts'

function fail(error: unknown): never {
  throw error
}

const libc = isSupportedPlatform() ? await loadLibc() : undefined
const WIRES: readonly (readonly [string, () => Wire])[] = [
  ['portable', createPortableWire],
  ...(libc ? [['kernel', () => createKernelWire(libc, { onBug: fail })] as const] : []),
]
const DEADLINE_MS = 5000
const LIMITS: RelayLimits = { idleTimeoutMs: 5000, lingerTimeoutMs: 5000 }

/** Fails instead of hanging. */
function within<T>(promise: Promise<T>, what: string): Promise<T> {
  let timer: NodeJS.Timeout
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${DEADLINE_MS} ms`)), DEADLINE_MS)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

function received(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  return within(
    new Promise((resolve, reject) => {
      socket.on('data', (chunk: Buffer) => chunks.push(chunk))
      socket.on('end', () => resolve(Buffer.concat(chunks)))
      socket.on('error', reject)
    }),
    'the end of the stream',
  )
}

function event(socket: Socket, name: string): Promise<unknown> {
  return within(
    new Promise((resolve) => {
      socket.once(name, resolve)
    }),
    `'${name}'`,
  )
}

describe.each(WIRES)('the %s wire', (_, create) => {
  const cleanup: (() => void)[] = []
  afterEach(() => {
    for (const undo of cleanup.splice(0).toReversed()) undo()
  })

  async function accept(wire: Wire, host = '127.0.0.1') {
    const accepted: Connection[] = []
    const waiting: ((connection: Connection) => void)[] = []
    const listener: Listener = await wire.listen({ host, port: 0 }, (connection) => {
      const take = waiting.shift()
      if (take) take(connection)
      else accepted.push(connection)
    })
    cleanup.push(() => void listener.close())
    const next = (): Promise<Connection> =>
      within(
        new Promise((resolve) => {
          const ready = accepted.shift()
          if (ready) resolve(ready)
          else waiting.push(resolve)
        }),
        'a connection',
      )
    return { listener, next }
  }

  function open(listener: Listener): Socket {
    const socket = connect({
      host: listener.endpoint.address,
      port: listener.endpoint.port,
      allowHalfOpen: true,
      noDelay: true,
    })
    socket.on('error', () => undefined)
    cleanup.push(() => socket.destroy())
    return socket
  }

  async function upstream(): Promise<{ port: number; next: () => Promise<Socket>; server: Server }> {
    const sockets: Socket[] = []
    const waiting: ((socket: Socket) => void)[] = []
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      socket.on('error', () => undefined)
      cleanup.push(() => socket.destroy())
      const take = waiting.shift()
      if (take) take(socket)
      else sockets.push(socket)
    })
    await new Promise<void>((resolve) => {
      server.listen(0, '127.0.0.1', resolve)
    })
    cleanup.push(() => server.close())
    const next = (): Promise<Socket> =>
      within(
        new Promise((resolve) => {
          const ready = sockets.shift()
          if (ready) resolve(ready)
          else waiting.push(resolve)
        }),
        'a connection upstream',
      )
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has an AddressInfo
    return { port: (server.address() as AddressInfo).port, next, server }
  }

  /** A client, a relay, and a host behind it. */
  async function tunnel(limits: Partial<RelayLimits> = {}, before?: (client: Socket) => Promise<void>) {
    const wire = create()
    const { listener, next } = await accept(wire)
    const host = await upstream()
    const client = open(listener)
    const near = await next()
    const dialled = await within(wire.dial('127.0.0.1', host.port).result, 'the dial')
    if (dialled.kind !== 'connected') throw new Error(dialled.code)
    const far = await host.next()
    await before?.(client)
    let end: (code: CloseCode) => void = () => undefined
    const done = new Promise<CloseCode>((resolve) => {
      end = resolve
    })
    const relay = wire.relay(
      near,
      dialled.connection,
      { ...LIMITS, ...limits },
      { ended: (code) => end(code) },
    )
    cleanup.push(() => relay.close('completed'))
    return { client, far, relay, done }
  }

  describe('a connection that is given up', () => {
    test('is a stream with what was read ahead in front, and moves much both ways', async () => {
      const wire = create()
      const { listener, next } = await accept(wire)
      const client = open(listener)
      const near = await next()
      client.write('first')
      const read = await near.read(5000)
      if (read.kind !== 'data') throw new Error(read.kind)
      near.unread(read.bytes)
      const stream = wire.release(near)
      if (!stream) throw new Error('it is there')
      cleanup.push(() => stream.destroy())
      const bytes = Buffer.alloc(8 * 1024 * 1024, 'x')
      let back = 0
      client.on('data', (chunk: Buffer) => {
        back += chunk.length
      })
      stream.pipe(stream)
      client.end(bytes)
      await within(once(client, 'end'), 'the end')
      expect(back).toBe(bytes.length + 'first'.length)
    })

    test('is nothing once its peer has finished', async () => {
      const wire = create()
      const { listener, next } = await accept(wire)
      const client = open(listener)
      const near = await next()
      client.end()
      expect(await near.read(5000)).toEqual({ kind: 'end' })
      expect(wire.release(near)).toBeUndefined()
    })
  })

  describe('a connection', () => {
    test('reads what arrives, then its end', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      socket.end('hello')
      const connection = await next()
      expect(await connection.read(DEADLINE_MS)).toEqual({ kind: 'data', bytes: Buffer.from('hello') })
      expect(await connection.read(DEADLINE_MS)).toEqual({ kind: 'end' })
    })

    test('gives back what was unread first', async () => {
      const { listener, next } = await accept(create())
      open(listener).write('later')
      const connection = await next()
      const first = await connection.read(DEADLINE_MS)
      expect(first.kind).toBe('data')
      connection.unread(Buffer.from('sooner'))
      expect(await connection.read(DEADLINE_MS)).toMatchObject({ bytes: Buffer.from('sooner') })
    })

    test('stops waiting at the deadline, and can read on', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      const connection = await next()
      expect(await connection.read(20)).toEqual({ kind: 'timeout' })
      socket.write('late')
      expect(await connection.read(DEADLINE_MS)).toMatchObject({ kind: 'data' })
    })

    test('tells a reset from an end', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      const connection = await next()
      socket.resetAndDestroy()
      await within(connection.gone, 'gone')
      expect(await connection.read(DEADLINE_MS)).toEqual({ kind: 'broken', code: 'ECONNRESET' })
    })

    test('is not gone when the peer only finished sending', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      const connection = await next()
      let gone = false
      void connection.gone.then(() => {
        gone = true
      })
      socket.end()
      expect(await connection.read(DEADLINE_MS)).toEqual({ kind: 'end' })
      connection.write(Buffer.from('still here'))
      socket.once('data', () => socket.destroy())
      await event(socket, 'data')
      expect(gone).toBe(false)
    })

    test('holds back a peer that sends without being read', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      await next()
      const chunk = Buffer.alloc(64 * 1024)
      // The system's socket buffers take some megabytes; a connection that kept reading would take everything.
      let sent = 0
      while (sent < 64 * 1024 * 1024 && socket.write(chunk)) sent += chunk.length
      await new Promise((resolve) => {
        setTimeout(resolve, 100)
      })
      for (let i = 0; i < 1024; i += 1) socket.write(chunk)
      await new Promise((resolve) => {
        setTimeout(resolve, 200)
      })
      expect(socket.writableLength).toBeGreaterThan(32 * 1024 * 1024)
    })

    test('finishes politely: the peer gets every byte, though it is still sending', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      const connection = await next()
      socket.write('a request that nobody will read')
      connection.write(Buffer.from('no'))
      const finished = connection.finish(DEADLINE_MS)
      socket.write('more of it')
      expect((await received(socket)).toString()).toBe('no')
      socket.end()
      await within(finished, 'finish')
    })

    test('finishes by its limit when the peer never closes', async () => {
      const { listener, next } = await accept(create())
      const socket = open(listener)
      const connection = await next()
      connection.write(Buffer.from('no'))
      expect(await within(connection.finish(50), 'finish')).toBeUndefined()
      socket.destroy()
    })

    test('knows its peer, IPv4 and IPv6', async () => {
      for (const host of ['127.0.0.1', '::1']) {
        const { listener, next } = await accept(create(), host)
        const socket = open(listener)
        const connection = await next()
        expect(connection.remote).toEqual({ address: host, port: socket.localPort })
      }
    })

    test('unwraps IPv4 clients of a dual-stack listener', async () => {
      const { listener, next } = await accept(create(), '::')
      const socket = connect({ host: '127.0.0.1', port: listener.endpoint.port })
      cleanup.push(() => socket.destroy())
      expect((await next()).remote.address).toBe('127.0.0.1')
    })
  })

  describe('a dial', () => {
    test('says that it was refused', async () => {
      const { port, server } = await upstream()
      server.close()
      expect(await within(create().dial('127.0.0.1', port).result, 'the dial')).toEqual({
        kind: 'failed',
        failure: 'refused',
        code: 'ECONNREFUSED',
      })
    })

    test('never resolves a name', async () => {
      expect(await create().dial('localhost', 443).result).toMatchObject({ kind: 'failed', failure: 'other' })
    })

    test('that is given up leaves no connection behind', async () => {
      const host = await upstream()
      const dialing = create().dial('127.0.0.1', host.port)
      dialing.abort()
      expect(await within(dialing.result, 'the dial')).toMatchObject({ kind: 'failed' })
    })

    test('a port that is taken cannot be listened on, and says why', async () => {
      const wire = create()
      const { listener } = await accept(wire)
      const again = wire.listen({ host: '127.0.0.1', port: listener.endpoint.port }, () => undefined)
      await expect(again).rejects.toMatchObject({ code: 'EADDRINUSE' })
    })
  })

  describe('a relay', () => {
    test('carries 8 MiB each way at once, unchanged, and counts them', async () => {
      const { client, far, relay, done } = await tunnel()
      const up = randomBytes(8 * 1024 * 1024)
      const down = randomBytes(8 * 1024 * 1024)
      client.end(up)
      far.end(down)
      const [gotDown, gotUp] = await Promise.all([received(client), received(far)])
      const hash = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
      expect(hash(gotUp)).toBe(hash(up))
      expect(hash(gotDown)).toBe(hash(down))
      expect(await within(done, 'the relay')).toBe('completed')
      expect([relay.bytesUp, relay.bytesDown]).toEqual([up.length, down.length])
    })

    test('sends bytes that came early first, once, and in order', async () => {
      const { client, far } = await tunnel({}, async (early) => {
        early.write('one ')
        await new Promise((resolve) => {
          setTimeout(resolve, 20)
        })
        early.write('two ')
        await new Promise((resolve) => {
          setTimeout(resolve, 20)
        })
      })
      client.end('three')
      expect((await received(far)).toString()).toBe('one two three')
    })

    test('passes on an end that came early', async () => {
      const { client, far, done } = await tunnel({}, async (early) => {
        early.end('request')
        await new Promise((resolve) => {
          setTimeout(resolve, 30)
        })
      })
      expect((await received(far)).toString()).toBe('request')
      far.end('response')
      expect((await received(client)).toString()).toBe('response')
      expect(await within(done, 'the relay')).toBe('completed')
    })

    test.each(['client', 'far'] as const)(
      'half-close by the %s: the other direction goes on',
      async (side) => {
        const { client, far, done } = await tunnel()
        const [first, second] = side === 'client' ? [client, far] : [far, client]
        first.end('done')
        expect((await received(second)).toString()).toBe('done')
        second.write('still ')
        await event(first, 'data')
        const rest = received(first)
        second.end('talking')
        expect((await rest).toString()).toBe('talking')
        expect(await within(done, 'the relay')).toBe('completed')
      },
    )

    test.each([
      ['client', 'client_reset'],
      ['far', 'upstream_reset'],
    ] as const)('a reset by the %s ends both, and is named', async (side, code) => {
      const { client, far, done } = await tunnel()
      const [first, second] = side === 'client' ? [client, far] : [far, client]
      // The host is reset too; the client gets what was said, and an end.
      const closed = side === 'client' ? event(second, 'close') : received(second)
      first.resetAndDestroy()
      expect(await within(done, 'the relay')).toBe(code)
      await closed
    })

    test('an idle tunnel ends at its limit', async () => {
      const { done } = await tunnel({ idleTimeoutMs: 60 })
      expect(await within(done, 'the relay')).toBe('idle_timeout')
    })

    test('a byte in either direction keeps it open', async () => {
      const { client, far, done } = await tunnel({ idleTimeoutMs: 300 })
      let ended = false
      void done.then(() => {
        ended = true
      })
      for (let i = 0; i < 8; i += 1) {
        ;(i % 2 === 0 ? client : far).write('.')
        await new Promise((resolve) => {
          setTimeout(resolve, 100)
        })
      }
      expect(ended).toBe(false)
    })

    test('half-closed and silent, it ends at the linger limit', async () => {
      const { client, done } = await tunnel({ idleTimeoutMs: 60_000, lingerTimeoutMs: 60 })
      client.end()
      expect(await within(done, 'the relay')).toBe('linger_timeout')
    })

    test('a host that does not read makes the client wait, not the memory grow', async () => {
      const { client, far, relay } = await tunnel()
      far.pause()
      const chunk = Buffer.alloc(1024 * 1024)
      for (let i = 0; i < 64; i += 1) client.write(chunk)
      await new Promise((resolve) => {
        setTimeout(resolve, 300)
      })
      expect(relay.bytesUp).toBeLessThan(32 * 1024 * 1024)
      const all = received(far)
      far.resume()
      client.end()
      expect((await all).length).toBe(64 * 1024 * 1024)
    })

    test('close() ends it with the given code', async () => {
      const { client, relay, done } = await tunnel()
      const end = received(client)
      relay.close('drain_timeout')
      expect(await within(done, 'the relay')).toBe('drain_timeout')
      await end
    })
  })
})
