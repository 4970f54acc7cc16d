/** The kernel wire: Linux sockets by libc calls, one epoll in Node's own loop, splice(2) for the bytes. */
import { Socket } from 'node:net'
import type { Connection, Wire } from '../types.ts'
import { KernelConnection } from './connection.ts'
import { dial } from './dial.ts'
import type { Libc } from './libc.ts'
import { KernelListener, openListening, type ListenerOptions } from './listener.ts'
import { PipePool } from './pipes.ts'
import { Reactor } from './reactor.ts'
import { KernelRelay } from './relay.ts'
import { createAddressEncoder } from './sockaddr.ts'

export interface KernelWireOptions extends ListenerOptions {
  /** Lets several processes listen on one address, each with its share of the connections. */
  readonly reusePort?: boolean
  readonly onBug: (error: unknown) => void
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
    relay(client, upstream, limits, owner, inspector) {
      const [near, far] = [own(client), own(upstream)]
      const [from, to] = [near.release(), far.release()]
      if (from && to) return new KernelRelay(reactor, pipes, from, to, limits, owner, inspector)
      // One side is gone already, and closed; so is the other, then.
      for (const left of [from, to]) if (left) reactor.close(left.slot)
      queueMicrotask(() => owner.ended(from ? 'upstream_reset' : 'client_reset'))
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
