/** A connection that the kernel wire opens. */
import { dialFailure } from '../dial-failure.ts'
import type { Dialing, DialResult, Endpoint } from '../types.ts'
import { KernelConnection, WATCH_BOTH } from './connection.ts'
import {
  EINPROGRESS,
  EINTR,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  IPPROTO_TCP,
  SO_ERROR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_NODELAY,
  type Libc,
} from './libc.ts'
import type { Reactor, Watcher } from './reactor.ts'
import { codeOf, setOption } from './socket.ts'
import type { EncodeAddress } from './sockaddr.ts'

export function dial(reactor: Reactor, encode: EncodeAddress, address: string, port: number): Dialing {
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

function settled(result: DialResult): Dialing {
  return { result: Promise.resolve(result), abort: () => undefined }
}

function failed(libc: Libc, errno: number): DialResult {
  const code = libc.errnoName(errno)
  return { kind: 'failed', failure: dialFailure(code), code }
}
