/** The kernel wire on a watched libc, between clients and a host made of node:net; all on loopback, all gone after the test. */
import { createHash } from 'node:crypto'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { expect, onTestFinished } from 'vitest'
import type { CloseCode } from '../../src/policy/reasons.ts'
import { loadLibc } from '../../src/wire/kernel/libc.ts'
import { createKernelWire, type KernelWire } from '../../src/wire/kernel/wire.ts'
import type { Connection, Listener, Relay, RelayLimits } from '../../src/wire/types.ts'
import { CheckedLibc } from './checked-libc.ts'
import { until, within } from './deadline.ts'

export const LIMITS: RelayLimits = { idleTimeoutMs: 60_000, lingerTimeoutMs: 60_000 }

export interface KernelTunnel {
  readonly client: Socket
  readonly far: Socket
  readonly relay: Relay
  readonly near: Connection
  readonly upstream: Connection
  /** The relay's code, in time. */
  readonly done: Promise<CloseCode>
  /** How often the relay has ended. */
  readonly ends: readonly CloseCode[]
}

export interface TunnelOptions {
  readonly limits?: Partial<RelayLimits>
  /** Before the two sides are joined. */
  readonly before?: (sides: {
    client: Socket
    far: Socket
    near: Connection
    upstream: Connection
  }) => Promise<void>
}

export interface KernelLab {
  readonly checked: CheckedLibc
  readonly wire: KernelWire
  readonly listener: Listener
  readonly host: Host
  /** What the wire called a bug; empty at the end of a test, unless the test took them. */
  readonly bugs: unknown[]
  /** Why accepting paused, each time. */
  readonly paused: string[]
  /** Connects to the wire's listener. */
  client(): Socket
  /** The next connection that the wire has accepted. */
  accepted(): Promise<Connection>
  tunnel(options?: TunnelOptions): Promise<KernelTunnel>
}

export async function openKernelLab(address = '127.0.0.1'): Promise<KernelLab> {
  const checked = new CheckedLibc(await loadLibc())
  const bugs: unknown[] = []
  const paused: string[] = []
  const wire = createKernelWire(checked.libc, {
    onBug: (error) => bugs.push(error),
    onAcceptPaused: (code) => paused.push(code),
  })
  const accepted = new Queue<Connection>('a connection')
  const listener = await wire.listen({ host: address, port: 0 }, (connection) => accepted.put(connection))
  const host = await Host.listen(address)
  const clients: Socket[] = []
  onTestFinished(async () => {
    for (const client of clients) client.destroy()
    await host.close()
    wire.dispose()
    expect([...checked.open], 'descriptors left open').toEqual([])
    expect(checked.violations).toEqual([])
    expect(bugs).toEqual([])
  })
  const client = (): Socket => {
    const { port } = listener.endpoint
    const socket = connect({ host: address, port, allowHalfOpen: true, noDelay: true })
    socket.on('error', () => undefined)
    clients.push(socket)
    return socket
  }
  return {
    checked,
    wire,
    listener,
    host,
    bugs,
    paused,
    client,
    accepted: () => accepted.take(),
    async tunnel({ limits = {}, before } = {}) {
      const socket = client()
      const near = await accepted.take()
      const upstream = await dialled(wire, address, host.port)
      const far = await host.next()
      await before?.({ client: socket, far, near, upstream })
      const ends: CloseCode[] = []
      let end: (code: CloseCode) => void = () => undefined
      const done = new Promise<CloseCode>((resolve) => {
        end = resolve
      })
      const relay = wire.relay(
        near,
        upstream,
        { ...LIMITS, ...limits },
        {
          ended(code) {
            ends.push(code)
            end(code)
          },
        },
      )
      return {
        client: socket,
        far,
        relay,
        near,
        upstream,
        get done() {
          return within(done, 'the end of the relay')
        },
        ends,
      }
    },
  }
}

/** Dials what listens. */
export async function dialled(wire: KernelWire, address: string, port: number): Promise<Connection> {
  const result = await within(wire.dial(address, port).result, 'the dial')
  if (result.kind === 'failed') throw new Error(`the dial failed: ${result.code}`)
  return result.connection
}

/** A server whose connections are taken one by one. */
export class Host {
  readonly #server: Server
  readonly #sockets = new Queue<Socket>('a connection upstream')
  readonly #all: Socket[] = []

  private constructor() {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      socket.on('error', () => undefined)
      this.#all.push(socket)
      this.#sockets.put(socket)
    })
  }

  static async listen(address: string): Promise<Host> {
    const host = new Host()
    await new Promise<void>((resolve) => {
      host.#server.listen(0, address, resolve)
    })
    return host
  }

  get port(): number {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has an AddressInfo
    return (this.#server.address() as AddressInfo).port
  }

  next(): Promise<Socket> {
    return this.#sockets.take()
  }

  async close(): Promise<void> {
    for (const socket of this.#all) socket.destroy()
    await new Promise((resolve) => {
      this.#server.close(resolve)
    })
  }
}

/** What arrives, and how it ends. */
export class Sink {
  readonly #chunks: Buffer[] = []
  #length = 0
  #end: 'fin' | 'reset' | undefined

  constructor(socket: Socket) {
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk)
      this.#length += chunk.length
    })
    socket.on('end', () => {
      this.#end ??= 'fin'
    })
    socket.on('error', () => {
      this.#end ??= 'reset'
    })
  }

  get length(): number {
    return this.#length
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks)
  }

  get hash(): string {
    return hash(this.bytes)
  }

  async ended(): Promise<'fin' | 'reset'> {
    await until(() => this.#end !== undefined, `the end of the stream, after ${this.#length} bytes`)
    return this.#end ?? 'reset'
  }

  async reaches(length: number): Promise<void> {
    await until(() => this.#length >= length, `${length} bytes`)
  }
}

export function hash(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}

/** Keeps this process, and so the wire in it, from seeing anything while peers that are other processes act. */
export function sleepSync(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms)
}

export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

class Queue<T> {
  readonly #what: string
  readonly #ready: T[] = []
  readonly #waiting: ((item: T) => void)[] = []

  constructor(what: string) {
    this.#what = what
  }

  put(item: T): void {
    const take = this.#waiting.shift()
    if (take) take(item)
    else this.#ready.push(item)
  }

  take(): Promise<T> {
    const item = this.#ready.shift()
    if (item !== undefined) return Promise.resolve(item)
    return within(
      new Promise((resolve) => {
        this.#waiting.push(resolve)
      }),
      this.#what,
    )
  }
}
