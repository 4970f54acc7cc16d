/** A listening socket of the kernel wire. */
import type { Connection, Endpoint, Listener, ListeningAddress } from '../types.ts'
import { KernelConnection, WATCH_READ } from './connection.ts'
import {
  AF_INET6,
  EAGAIN,
  EMFILE,
  ENFILE,
  ENOBUFS,
  ENOMEM,
  EPOLLIN,
  F_SETFD,
  F_SETFL,
  FD_CLOEXEC,
  IPPROTO_IPV6,
  IPPROTO_TCP,
  O_NONBLOCK,
  IPV6_V6ONLY,
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
import type { Reactor, Watcher } from './reactor.ts'
import { codeOf, setOption, systemError } from './socket.ts'
import { decodeAddress, MAX_SOCKADDR_BYTES, type EncodeAddress } from './sockaddr.ts'

const BACKLOG = 4096
/** Connections taken in one turn before the others get theirs. */
const ACCEPTS_PER_TURN = 64
/** First keep-alive probe after this much silence, in seconds, as the portable wire has it. */
const KEEP_ALIVE_S = 60
/** What accepting runs out of; all else concerns one connection. */
const WANTS: ReadonlySet<number> = new Set([EMFILE, ENFILE, ENOBUFS, ENOMEM])
/** How long accepting pauses when descriptors have run out. */
const ACCEPT_PAUSE_MS = 100

export interface ListenerOptions {
  /** Accepting has paused for want of descriptors (`code` EMFILE or ENFILE). */
  readonly onAcceptPaused?: (code: string) => void
}

export class KernelListener implements Listener, Watcher {
  readonly endpoint: Endpoint
  readonly #reactor: Reactor
  readonly #slot: number
  readonly #onConnection: (connection: Connection) => void
  readonly #options: ListenerOptions
  readonly #address = Buffer.alloc(MAX_SOCKADDR_BYTES)
  readonly #length = new Int32Array([MAX_SOCKADDR_BYTES])

  /** @param fd listens already, and is the listener's from here on */
  constructor(
    reactor: Reactor,
    fd: number,
    onConnection: (connection: Connection) => void,
    options: ListenerOptions,
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
        connection = adopt(this.#reactor, fd, decodeAddress(this.#address))
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
export function openListening(
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
function adopt(reactor: Reactor, fd: number, remote: Endpoint): KernelConnection {
  const slot = reactor.add(fd, WATCH_READ, NOBODY)
  const connection = new KernelConnection(reactor, slot, remote, false)
  reactor.assign(slot, connection)
  return connection
}

/** Watches a slot between its making and its owner's. */
const NOBODY: Watcher = { onEvents: () => undefined, onDeadline: () => undefined, onFault: () => undefined }
