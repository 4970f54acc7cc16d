/** The kernel wire where the system fails it: calls that fail, do less, or tell several things at once. */
import { fork } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { CloseCode } from '../../src/policy/reasons.ts'
import { isSupportedPlatform } from '../../src/wire/kernel/libc.ts'
import type { Connection, Listener, RelayLimits } from '../../src/wire/types.ts'
import { DEADLINE_MS, until, within } from '../support/deadline.ts'
import type { Call, Errno } from '../support/checked-libc.ts'
import { dialled, hash, LIMITS, openKernelLab, Sink, sleep, type KernelLab } from '../support/kernel-lab.ts'
import type { ExhaustStep } from './exhaust.ts'
import { RawHost, RawPeer } from '../support/raw-peer.ts'

const MEGABYTE = 1024 * 1024

/** Both ways at once, finished by both: whether every byte arrived, and was counted, and the tunnel ended well. */
async function isWhole(lab: KernelLab): Promise<boolean> {
  const bytes = 2 * MEGABYTE
  const tunnel = await lab.tunnel()
  const { client, far, relay } = tunnel
  const [up, down] = [randomBytes(bytes), randomBytes(bytes)]
  const [atHost, atClient] = [new Sink(far), new Sink(client)]
  client.end(up)
  far.end(down)
  expect([await atHost.ended(), await atClient.ended()]).toEqual(['fin', 'fin'])
  expect([atHost.hash, atClient.hash]).toEqual([hash(up), hash(down)])
  expect(await tunnel.done).toBe('completed')
  return relay.bytesUp === bytes && relay.bytesDown === bytes
}

/** A tunnel between two raw peers, joined and at rest. */
async function rawTunnel(lab: KernelLab) {
  const client = RawPeer.connect(lab.listener.endpoint.port)
  const near = await lab.accepted()
  const host = new RawHost()
  const dialing = lab.wire.dial('127.0.0.1', host.port)
  const far = host.accept()
  const result = await within(dialing.result, 'the dial')
  if (result.kind === 'failed') throw new Error(result.code)
  return { client, near, far, upstream: result.connection }
}

/** Joins them; the result waits for the end. */
function join(lab: KernelLab, near: Connection, upstream: Connection, limits: Partial<RelayLimits> = {}) {
  const done = new Promise<CloseCode>((ended) => {
    lab.wire.relay(near, upstream, { ...LIMITS, ...limits }, { ended })
  })
  return () => within(done, 'the end of the relay')
}

/** Gives the wire some turns of Node's loop. */
async function settle(): Promise<void> {
  for (let i = 0; i < 3; i += 1) await sleep(5)
}

describe.runIf(isSupportedPlatform())('the kernel wire', () => {
  describe('told several things at once', () => {
    test('hears a host that speaks as soon as it is connected', async () => {
      const lab = await openKernelLab()
      const host = new RawHost()
      const dialing = lab.wire.dial('127.0.0.1', host.port)
      host.accept().send('220 ready')
      const result = await within(dialing.result, 'the dial')
      if (result.kind === 'failed') throw new Error(result.code)
      expect(await result.connection.read(DEADLINE_MS)).toMatchObject({ bytes: Buffer.from('220 ready') })
      result.connection.destroy()
    })

    test('passes on what a host says, and its end, when both came with the connection', async () => {
      const lab = await openKernelLab()
      const host = new RawHost()
      const client = lab.client()
      const near = await lab.accepted()
      const dialing = lab.wire.dial('127.0.0.1', host.port)
      host.accept().send('bye').fin()
      const result = await within(dialing.result, 'the dial')
      if (result.kind === 'failed') throw new Error(result.code)
      const sink = new Sink(client)
      const ended = join(lab, near, result.connection)
      expect(await sink.ended()).toBe('fin')
      expect(sink.bytes.toString()).toBe('bye')
      client.end()
      expect(await ended()).toBe('completed')
    })

    test('is gone, when the reset came before anybody asked', async () => {
      const lab = await openKernelLab()
      const client = RawPeer.connect(lab.listener.endpoint.port)
      client.send('CONNECT')
      const near = await lab.accepted()
      expect(await near.read(DEADLINE_MS)).toMatchObject({ kind: 'data' })
      client.send('more').reset()
      await settle()
      await within(near.gone, 'gone')
      near.destroy()
    })

    test('reads past urgent data', async () => {
      const lab = await openKernelLab()
      const { client, near, far, upstream } = await rawTunnel(lab)
      join(lab, near, upstream)
      await settle()
      client.send('abc').sendUrgent('!').send('def')
      let heard = ''
      await until(() => {
        heard += far.received()
        return heard.length >= 6
      }, 'both parts')
      expect(heard).toBe('abcdef')
    })

    test('does not take urgent data among bulk for the end', async () => {
      const lab = await openKernelLab()
      const client = RawPeer.connect(lab.listener.endpoint.port)
      const near = await lab.accepted()
      const upstream = await dialled(lab.wire, '127.0.0.1', lab.host.port)
      const sink = new Sink(await lab.host.next())
      join(lab, near, upstream)
      await settle()
      const [one, two] = [randomBytes(64 * 1024), randomBytes(64 * 1024)]
      client.send(one).sendUrgent('!').send(two).fin()
      expect(await sink.ended()).toBe('fin')
      expect(sink.length).toBe(one.length + two.length)
      expect(sink.hash).toBe(hash(Buffer.concat([one, two])))
    })

    test('delivers what a host said before it reset, though sending to it fails first', async () => {
      const lab = await openKernelLab()
      const { client, near, far, upstream } = await rawTunnel(lab)
      const ended = join(lab, near, upstream)
      await settle()
      client.send('request')
      far.send('response').reset()
      expect(await ended()).toBe('upstream_reset')
      expect(client.received()).toBe('response')
    })

    test('notices a reset behind a FIN', async () => {
      const lab = await openKernelLab()
      const { client, near, far, upstream } = await rawTunnel(lab)
      const ended = join(lab, near, upstream)
      client.send('x').fin()
      await until(() => far.received() === 'x', 'the request')
      await settle()
      client.reset()
      expect(await ended()).toBe('client_reset')
    })
  })

  describe('where connections end early', () => {
    test('a second destroy closes nobody else', async () => {
      const lab = await openKernelLab()
      lab.client()
      const first = await lab.accepted()
      first.destroy()
      const second = lab.client()
      const sink = new Sink(second)
      const near = await lab.accepted()
      await first.finish(100)
      first.destroy()
      near.write(Buffer.from('still here'))
      await sink.reaches(10)
      expect(sink.bytes.toString()).toBe('still here')
      near.destroy()
    })

    test.each([
      ['near', 'client_reset'],
      ['upstream', 'upstream_reset'],
    ] as const)('a tunnel whose %s side was destroyed before ends at once', async (side, code) => {
      const lab = await openKernelLab()
      const tunnel = await lab.tunnel({
        before(sides) {
          sides[side].destroy()
          return Promise.resolve()
        },
      })
      expect(await tunnel.done).toBe(code)
      expect(lab.wire.usage.sockets).toBe(1)
    })

    test('a tunnel whose client broke while it was written to ends at once', async () => {
      const lab = await openKernelLab()
      const { client, near, upstream } = await rawTunnel(lab)
      client.reset()
      near.write(Buffer.from('HTTP/1.1 200 Connection established\r\n\r\n'))
      expect(await join(lab, near, upstream)()).toBe('client_reset')
    })

    test('a relay is not ended by what its connections are told afterwards', async () => {
      const lab = await openKernelLab()
      const { client, far, near, upstream } = await lab.tunnel()
      near.destroy()
      upstream.destroy()
      const sink = new Sink(far)
      client.write('through')
      await sink.reaches(7)
      expect(sink.bytes.toString()).toBe('through')
    })

    test('a listener may be closed by whoever takes its connection', async () => {
      const lab = await openKernelLab()
      const ports: { listener?: Listener } = {}
      let taken = 0
      ports.listener = await lab.wire.listen({ host: '127.0.0.1', port: 0 }, (connection) => {
        taken += 1
        void ports.listener?.close()
        connection.destroy()
      })
      const { port } = ports.listener.endpoint
      RawPeer.connect(port)
      RawPeer.connect(port)
      await until(() => taken > 0, 'a connection')
      await settle()
      expect(taken).toBe(1)
    })

    test('dispose closes open tunnels, and the pipes with bytes in them', async () => {
      const lab = await openKernelLab()
      const tunnel = await lab.tunnel()
      const idle = await lab.tunnel()
      tunnel.far.pause()
      tunnel.client.write(Buffer.alloc(32 * MEGABYTE))
      await until(() => [...lab.checked.open.values()].includes('pipe2'), 'a pipe')
      const closed = new Sink(idle.client)
      lab.wire.dispose()
      expect([...lab.checked.open]).toEqual([])
      await closed.ended()
      await settle()
      // Too late, and harmless.
      tunnel.relay.close('drain_timeout')
      tunnel.near.destroy()
      await lab.listener.close()
      expect(tunnel.ends.length).toBeLessThanOrEqual(1)
    })
  })

  describe('accepting', () => {
    test.each(['EMFILE', 'ENFILE', 'ENOBUFS', 'ENOMEM'] as const)(
      'pauses at %s, says so, and goes on; tunnels are not touched',
      async (errno) => {
        const lab = await openKernelLab()
        const { client, far } = await lab.tunnel()
        const fault = lab.checked.fail('accept4', errno)
        const waiting = lab.client()
        await until(() => lab.paused.length >= 2, 'two pauses')
        expect(lab.paused[0]).toBe(errno)
        expect(fault.hits).toBeLessThan(50)
        const sink = new Sink(far)
        client.write('untouched')
        await sink.reaches(9)
        fault.stop()
        const near = await lab.accepted()
        expect(near.remote.port).toBe(waiting.localPort)
        near.destroy()
      },
    )

    test.each(['EINTR', 'ECONNABORTED', 'EPROTO', 'EPERM'] as const)('goes on after %s', async (errno) => {
      const lab = await openKernelLab()
      lab.checked.fail('accept4', errno, { times: 3 })
      lab.client()
      const near = await lab.accepted()
      near.destroy()
      expect(lab.paused).toEqual([])
    })

    test('pauses when epoll has no room, and closes the connection it cannot watch', async () => {
      const lab = await openKernelLab()
      lab.checked.fail('epollCtl', 'ENOSPC', { times: 1 })
      const refused = new Sink(lab.client())
      await refused.ended()
      lab.client()
      const near = await lab.accepted()
      near.destroy()
      expect(lab.paused).toEqual(['ENOSPC'])
    })
  })

  describe('dialling', () => {
    test.each([
      ['socket', 'EMFILE'],
      ['connect', 'EADDRNOTAVAIL'],
      ['epollCtl', 'ENOSPC'],
    ] as const)('%s failing with %s is a failed dial', async (call, errno) => {
      const lab = await openKernelLab()
      lab.checked.fail(call, errno, { times: 1 })
      const result = await within(lab.wire.dial('127.0.0.1', lab.host.port).result, 'the dial')
      expect(result).toMatchObject({ kind: 'failed', code: errno })
      expect(lab.wire.usage.sockets).toBe(1)
    })

    test('is not disturbed by a signal', async () => {
      const lab = await openKernelLab()
      // As connect(2) has it, the connection goes on by itself.
      const fault = lab.checked.fail('connect', 'EINTR', { times: 1, done: true })
      const connection = await dialled(lab.wire, '127.0.0.1', lab.host.port)
      expect(fault.hits).toBe(1)
      connection.destroy()
    })

    test('speaks IPv6', async () => {
      const lab = await openKernelLab('::1')
      expect(await isWhole(lab)).toBe(true)
    })

    test('a given-up dial may be given up again', async () => {
      const lab = await openKernelLab()
      const dialing = lab.wire.dial('127.0.0.1', lab.host.port)
      dialing.abort()
      const other = await dialled(lab.wire, '127.0.0.1', lab.host.port)
      dialing.abort()
      const sides = [await lab.host.next(), await lab.host.next()].map((socket) => new Sink(socket))
      other.write(Buffer.from('here'))
      await until(() => sides.some((side) => side.length === 4), 'the bytes')
      expect(lab.wire.usage.sockets).toBe(2)
      other.destroy()
    })
  })

  describe('carrying bytes', () => {
    test.each<[string, (lab: KernelLab) => void]>([
      ['pipe2 fails', (lab) => lab.checked.fail('pipe2', 'EMFILE')],
      ['every other pipe2 fails', (lab) => lab.checked.fail('pipe2', 'ENFILE', { when: everyOther() })],
      ['pipes stay small', (lab) => lab.checked.fail('fcntl', 'EPERM')],
      ['splice is refused', (lab) => lab.checked.fail('splice', 'EINVAL')],
      ['splice finds no memory', (lab) => lab.checked.fail('splice', 'ENOMEM', { when: everyOther() })],
      [
        'splicing into the socket is refused',
        (lab) => lab.checked.fail('splice', 'EINVAL', { when: outOfPipe(lab) }),
      ],
      [
        'signals interrupt',
        (lab) => {
          for (const call of ['recv', 'send', 'splice'] satisfies Call[])
            lab.checked.fail(call, 'EINTR', { when: everyOther() })
        },
      ],
      [
        'splice moves little',
        (lab) => lab.checked.bend('splice', ([a, b, c, d, , f]) => [a, b, c, d, 1000, f]),
      ],
      [
        'splice out of the pipe moves little',
        (lab) =>
          lab.checked.bend(
            'splice',
            ([a, b, c, d, length, f]) => [a, b, c, d, Math.min(Number(length), 5000), f],
            {
              when: outOfPipe(lab),
            },
          ),
      ],
      [
        'send takes little',
        (lab) => {
          lab.checked.fail('pipe2', 'EMFILE')
          lab.checked.bend('send', ([fd, bytes, length, flags]) => [
            fd,
            bytes,
            Math.min(Number(length), 700),
            flags,
          ])
        },
      ],
    ])('is whole when %s', async (_, inject) => {
      const lab = await openKernelLab()
      inject(lab)
      expect(await isWhole(lab)).toBe(true)
    })

    test('is whole when the sinks are full all the time', async () => {
      const lab = await openKernelLab()
      const tunnel = await lab.tunnel()
      const bytes = randomBytes(24 * MEGABYTE)
      const sink = new Sink(tunnel.far)
      tunnel.client.end(bytes)
      for (let i = 0; i < 20; i += 1) {
        tunnel.far.pause()
        await sleep(3)
        tunnel.far.resume()
        await sleep(1)
      }
      expect(await sink.ended()).toBe('fin')
      expect(sink.hash).toBe(hash(bytes))
      tunnel.far.end()
      expect(await tunnel.done).toBe('completed')
    })

    test.each<[Call, Errno, CloseCode]>([
      ['recv', 'ETIMEDOUT', 'client_reset'],
      ['send', 'EPIPE', 'upstream_reset'],
    ])('%s failing with %s ends the tunnel, once', async (call, errno, code) => {
      const lab = await openKernelLab()
      const tunnel = await lab.tunnel()
      lab.checked.fail(call, errno)
      tunnel.client.write('x')
      expect(await tunnel.done).toBe(code)
      await settle()
      expect(tunnel.ends).toEqual([code])
      expect(lab.wire.usage.sockets).toBe(1)
    })

    test('a reply is whole when the socket takes little', async () => {
      const lab = await openKernelLab()
      const sink = new Sink(lab.client())
      const near = await lab.accepted()
      lab.checked.bend('send', ([fd, bytes, length, flags]) => [
        fd,
        bytes,
        Math.min(Number(length), 3),
        flags,
      ])
      lab.checked.fail('send', 'EINTR', { when: everyOther() })
      near.write(Buffer.from('HTTP/1.1 403 Forbidden\r\n\r\n'))
      const finished = near.finish(50)
      expect(await sink.ended()).toBe('fin')
      expect(sink.bytes.toString()).toBe('HTTP/1.1 403 Forbidden\r\n\r\n')
      await within(finished, 'finish')
    })
  })

  describe('keeping time', () => {
    test('deadlines of many connections pass for those that are due, and for no others', async () => {
      const lab = await openKernelLab()
      const sockets = Array.from({ length: 300 }, () => lab.client())
      const all: Connection[] = []
      for (const socket of sockets) {
        all.push(await lab.accepted())
        void socket
      }
      const results = all.map((near, i) => near.read(i % 2 === 0 ? 20 + (i % 50) : 60_000))
      const early = await within(Promise.all(results.filter((_, i) => i % 2 === 0)), 'the early deadlines')
      expect(early.every((result) => result.kind === 'timeout')).toBe(true)
      for (const socket of sockets) socket.write('x')
      const late = await within(Promise.all(results.filter((_, i) => i % 2 === 1)), 'the others')
      expect(late.every((result) => result.kind === 'data')).toBe(true)
      for (const near of all) near.destroy()
    })

    test('idle and linger limits of many tunnels, each its own', async () => {
      const lab = await openKernelLab()
      const idle = await Promise.all(
        Array.from({ length: 40 }, (_, i) => lab.tunnel({ limits: { idleTimeoutMs: 30 + i } })),
      )
      const half = await lab.tunnel({ limits: { lingerTimeoutMs: 40 } })
      const open = await lab.tunnel()
      half.client.end()
      const codes = await Promise.all(idle.map((tunnel) => tunnel.done))
      expect(new Set(codes)).toEqual(new Set(['idle_timeout']))
      expect(await half.done).toBe('linger_timeout')
      expect(open.ends).toEqual([])
      await settle()
      expect([...idle, half].every((tunnel) => tunnel.ends.length === 1)).toBe(true)
    })
  })

  test('lives through running out of descriptors', async () => {
    const clients = 150
    const child = fork(new URL('exhaust.ts', import.meta.url), [String(clients)], {
      execPath: '/bin/sh',
      execArgv: ['-c', 'ulimit -n 128 && exec "$0" "$@"', process.execPath],
    })
    const steps: ExhaustStep[] = []
    child.on('message', (step: ExhaustStep) => steps.push(step))
    const sockets: Socket[] = []
    onTestFinished(() => {
      for (const socket of sockets) socket.destroy()
      child.kill()
    })
    const reach = async <T extends ExhaustStep['step']>(wanted: T): Promise<ExhaustStep & { step: T }> => {
      const found = (): (ExhaustStep & { step: T }) | undefined =>
        steps.find((each): each is ExhaustStep & { step: T } => each.step === wanted)
      await until(() => found() !== undefined || child.exitCode !== null, `'${wanted}'`)
      const step = found()
      if (!step) throw new Error(`the process ended with ${child.exitCode}`)
      return step
    }
    const { port } = await reach('listening')
    const open = (): Socket => {
      const socket = connect({ host: '127.0.0.1', port, noDelay: true })
      socket.on('error', () => undefined)
      sockets.push(socket)
      return socket
    }
    const one = open()
    const two = new Sink(open())
    await reach('joined')
    for (let i = 0; i < clients; i += 1) open()
    expect((await reach('paused')).code).toBe('EMFILE')
    one.write('untouched')
    await two.reaches(9)
    child.send('serve')
    expect(await reach('served')).toEqual({ step: 'served', left: 3, bugs: [] })
  })
})

/** True for every second call. */
function everyOther(): () => boolean {
  let count = 0
  return () => {
    count += 1
    return count % 2 === 0
  }
}

/** splice(2) from a pipe. */
function outOfPipe(lab: KernelLab): (args: readonly unknown[]) => boolean {
  return ([from]) => lab.checked.open.get(Number(from)) === 'pipe2'
}
