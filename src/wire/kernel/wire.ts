/** The kernel wire: Linux sockets by libc calls, one epoll in Node's own loop, splice(2) for the bytes. */
import { Socket } from 'node:net'
import { dialFailure } from '../dial-failure.ts'
import type { Connection, Dialing, DialResult, Endpoint, Listener, ListeningAddress, Wire } from '../types.ts'
import { KernelConnection, WATCH_BOTH, WATCH_READ } from './connection.ts'
import {
  AF_INET6,
  EAGAIN,
  EINPROGRESS,
  EINTR,
  EMFILE,
  ENFILE,
  EPOLLERR,
  EPOLLHUP,
  ENOBUFS,
  ENOMEM,
  EPOLLIN,
  EPOLLOUT,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  O_NONBLOCK,
  IPV6_V6ONLY,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
  type Libc,
} from './libc.ts'
import { PipePool } from './pipes.ts'
import { Reactor, type Watcher } from './reactor.ts'
import { KernelRelay } from './relay.ts'
import { createAddressEncoder, decodeAddress, MAX_SOCKADDR_BYTES, type EncodeAddress } from './sockaddr.ts'

const BACKLOG = 4096
/** Connections taken in one turn before the others get theirs. */
const ACCEPTS_PER_TURN = 64
/** First keep-alive probe after this much silence, in seconds, as the portable wire has it. */
const KEEP_ALIVE_S = 60
/** What accepting runs out of; all else concerns one connection. */
const WANTS: ReadonlySet<number> = new Set([EMFILE, ENFILE, ENOBUFS, ENOMEM])
/** How long accepting pauses when descriptors have run out. */
const ACCEPT_PAUSE_MS = 100

export interface KernelWireOptions {
  /** Lets several processes listen on one address, each with its share of the connections. */
  readonly reusePort?: boolean
  readonly onBug: (error: unknown) => void
  /** Accepting has paused for want of descriptors (`code` EMFILE or ENFILE). */
  readonly onAcceptPaused?: (code: string) => void
}

export interface KernelWire extends Wire {
  readonly name: 'kernel'
  /** Descriptors of sockets, and idle pipes: what a leak would show in. */
  readonly usage: { readonly sockets: number; readonly idlePipes: number }
  /** Gives everything back; open connections are closed. */
  dispose(): void
}

export function createKernelWire(libc: Libc, options: KernelWireOptions): KernelWire {
  const reactor = new Reactor(libc, options.onBug)
  const pipes = new PipePool(libc)
  const encode = createAddressEncoder()
  return {
    name: 'kernel',
    get usage() {
      return { sockets: reactor.size, idlePipes: pipes.idle }
    },
    listen(address, onConnection) {
      // Inside a promise, so that a failure is a rejection as on every wire.
      return new Promise((resolve) => {
        resolve(
          new KernelListener(
            reactor,
            openListening(libc, encode, address, options.reusePort ?? false),
            onConnection,
            options,
          ),
        )
      })
    },
    dial: (address, port) => dial(reactor, encode, address, port),
    relay(client, upstream, limits, onEnd, inspector) {
      const [near, far] = [own(client), own(upstream)]
      const [from, to] = [near.release(), far.release()]
      if (from && to) return new KernelRelay(reactor, pipes, from, to, limits, onEnd, inspector)
      // One side is gone already, and closed; so is the other, then.
      for (const left of [from, to]) if (left) reactor.close(left.slot)
      queueMicrotask(() => onEnd(from ? 'upstream_reset' : 'client_reset'))
      reactor.wake()
      return { bytesUp: 0, bytesDown: 0, close: () => undefined }
    },
    release(connection) {
      const given = own(connection).release()
      if (!given) return undefined
      if (given.ended) {
        reactor.close(given.slot)
        return undefined
      }
      const fd = reactor.release(given.slot)
      // Half-open, as accepted sockets of the portable wire are.
      const socket = new Socket({ fd, readable: true, writable: true, allowHalfOpen: true })
      socket.pause()
      if (given.kept) socket.unshift(given.kept)
      if (given.unsent) socket.write(given.unsent)
      return socket
    },
    dispose() {
      reactor.dispose()
      pipes.dispose()
    },
  }
}

function own(connection: Connection): KernelConnection {
  if (connection instanceof KernelConnection) return connection
  throw new TypeError('both connections must come from this wire')
}

class KernelListener implements Listener, Watcher {
  readonly endpoint: Endpoint
  readonly #reactor: Reactor
  readonly #slot: number
  readonly #onConnection: (connection: Connection) => void
  readonly #options: KernelWireOptions
  readonly #address = Buffer.alloc(MAX_SOCKADDR_BYTES)
  readonly #length = new Int32Array([MAX_SOCKADDR_BYTES])

  /** @param fd listens already, and is the listener's from here on */
  constructor(
    reactor: Reactor,
    fd: number,
    onConnection: (connection: Connection) => void,
    options: KernelWireOptions,
  ) {
    this.#reactor = reactor
    this.#onConnection = onConnection
    this.#options = options
    const { libc } = reactor
    // Accepted sockets inherit these.
    setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1)
    setOption(libc, fd, SOL_SOCKET, SO_KEEPALIVE, 1)
    setOption(libc, fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_ALIVE_S)
    libc.getsockname(fd, this.#address, this.#length)
    this.endpoint = decodeAddress(this.#address)
    // Level-triggered: what one turn leaves in the queue is announced again.
    this.#slot = reactor.add(fd, EPOLLIN, this)
  }

  close(): Promise<void> {
    if (this.#reactor.watcherOf(this.#slot) === this) this.#reactor.close(this.#slot)
    return Promise.resolve()
  }

  onEvents(): void {
    const { libc } = this.#reactor
    for (let taken = 0; taken < ACCEPTS_PER_TURN; taken += 1) {
      // Whoever takes a connection may close the listener.
      if (this.#reactor.watcherOf(this.#slot) !== this) return
      this.#length[0] = MAX_SOCKADDR_BYTES
      const listening = this.#reactor.fd(this.#slot)
      const fd = libc.accept4(listening, this.#address, this.#length, SOCK_NONBLOCK | SOCK_CLOEXEC)
      if (fd < 0) {
        const errno = libc.errno()
        if (errno === EAGAIN) return
        // Everything else concerns one connection that is gone already (accept(2)).
        if (!WANTS.has(errno)) continue
        this.#pause(libc.errnoName(errno))
        return
      }
      let connection
      try {
        connection = adopt(this.#reactor, fd, WATCH_READ, decodeAddress(this.#address))
      } catch (error) {
        // epoll has no room for it: the connection is closed, and the next ones wait.
        this.#pause(codeOf(error))
        return
      }
      this.#reactor.wake()
      this.#onConnection(connection)
    }
  }

  onDeadline(): void {
    this.#reactor.modify(this.#slot, EPOLLIN)
  }

  onFault(): void {
    // The connection at fault is closed by whoever threw; the listener goes on.
  }

  /** Without descriptors the queue cannot be emptied, and a level-triggered listener would spin. */
  #pause(code: string): void {
    this.#reactor.modify(this.#slot, 0)
    this.#reactor.setDeadline(this.#slot, performance.now() + ACCEPT_PAUSE_MS)
    this.#options.onAcceptPaused?.(code)
  }
}

/** A socket that listens: the one that the process was given, or a new one. Throws the system's error. */
function openListening(
  libc: Libc,
  encode: EncodeAddress,
  { host, port, fd: given }: ListeningAddress,
  reusePort: boolean,
): number {
  if (given !== undefined) {
    if (libc.listen(given, BACKLOG) < 0) throw systemError(libc, 'listen')
    libc.fcntl(given, F_SETFD, FD_CLOEXEC)
    libc.fcntl(given, F_SETFL, O_NONBLOCK)
    return given
  }
  const { family, bytes } = encode(host, port)
  const fd = libc.socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
  if (fd < 0) throw systemError(libc, 'socket')
  setOption(libc, fd, SOL_SOCKET, SO_REUSEADDR, 1)
  if (reusePort) setOption(libc, fd, SOL_SOCKET, SO_REUSEPORT, 1)
  if (family === AF_INET6) setOption(libc, fd, IPPROTO_IPV6, IPV6_V6ONLY, host === '::' ? 0 : 1)
  if (libc.bind(fd, bytes, bytes.length) < 0 || libc.listen(fd, BACKLOG) < 0) {
    const error = systemError(libc, 'listen')
    libc.close(fd)
    throw error
  }
  return fd
}

/** Puts a connected descriptor into the reactor, as a connection. */
function adopt(reactor: Reactor, fd: number, events: number, remote: Endpoint): KernelConnection {
  const slot = reactor.add(fd, events, NOBODY)
  const connection = new KernelConnection(reactor, slot, remote, events === WATCH_BOTH)
  reactor.assign(slot, connection)
  return connection
}

/** Watches a slot between its making and its owner's. */
const NOBODY: Watcher = { onEvents: () => undefined, onDeadline: () => undefined, onFault: () => undefined }

function dial(reactor: Reactor, encode: EncodeAddress, address: string, port: number): Dialing {
  const { libc } = reactor
  let target
  try {
    target = encode(address, port)
  } catch {
    return settled({ kind: 'failed', failure: 'other', code: 'not an IP literal' })
  }
  const fd = libc.socket(target.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)
  if (fd < 0) return settled(failed(libc, libc.errno()))
  // No keep-alive here: the idle limit ends a tunnel whose host is gone, and each option is a call for each tunnel.
  setOption(libc, fd, IPPROTO_TCP, TCP_NODELAY, 1)
  if (libc.connect(fd, target.bytes, target.bytes.length) < 0) {
    const errno = libc.errno()
    if (errno !== EINPROGRESS && errno !== EINTR) {
      libc.close(fd)
      return settled(failed(libc, errno))
    }
  }
  try {
    return new KernelDial(reactor, fd, { address, port })
  } catch (error) {
    return settled({ kind: 'failed', failure: 'other', code: codeOf(error) })
  }
}

class KernelDial implements Dialing, Watcher {
  readonly result: Promise<DialResult>
  readonly #reactor: Reactor
  readonly #slot: number
  readonly #remote: Endpoint
  #settle: (result: DialResult) => void = () => undefined

  constructor(reactor: Reactor, fd: number, remote: Endpoint) {
    this.#reactor = reactor
    this.#remote = remote
    this.result = new Promise((resolve) => {
      this.#settle = resolve
    })
    this.#slot = reactor.add(fd, WATCH_BOTH, this)
  }

  onEvents(slot: number, events: number): void {
    const { libc } = this.#reactor
    if (events & (EPOLLERR | EPOLLHUP)) {
      const errno = new Int32Array(1)
      libc.getsockopt(this.#reactor.fd(slot), SOL_SOCKET, SO_ERROR, errno, new Int32Array([4]))
      this.#reactor.close(slot)
      this.#reactor.wake()
      this.#settle(failed(libc, errno[0] ?? 0))
      return
    }
    const connection = new KernelConnection(this.#reactor, slot, this.#remote, true)
    this.#reactor.assign(slot, connection)
    // Bytes, or an end, that came together with the connection are announced here and not again.
    connection.onEvents(slot, events & ~EPOLLOUT)
    this.#reactor.wake()
    this.#settle({ kind: 'connected', connection })
  }

  onDeadline(): void {
    // The dial's deadline is its caller's, over all addresses; see `abort`.
  }

  onFault(): void {
    this.abort()
  }

  abort(): void {
    if (this.#reactor.watcherOf(this.#slot) !== this) return
    this.#reactor.close(this.#slot)
    this.#settle({ kind: 'failed', failure: 'other', code: 'ECONNABORTED' })
  }
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

function settled(result: DialResult): Dialing {
  return { result: Promise.resolve(result), abort: () => undefined }
}

function failed(libc: Libc, errno: number): DialResult {
  const code = libc.errnoName(errno)
  return { kind: 'failed', failure: dialFailure(code), code }
}

const optionValue = new Int32Array(1)

function setOption(libc: Libc, fd: number, level: number, name: number, value: number): void {
  optionValue[0] = value
  libc.setsockopt(fd, level, name, optionValue, optionValue.byteLength)
}

function systemError(libc: Libc, call: string): Error {
  const code = libc.errnoName(libc.errno())
  return Object.assign(new Error(`${call}: ${code}`), { code })
}
