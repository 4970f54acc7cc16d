/** The portable wire: node:net, on every platform. */
import { connect, createServer, isIP } from 'node:net'
import { dialFailure } from '../dial-failure.ts'
import type { Connection, Dialing, DialResult, Listener, Wire } from '../types.ts'
import { PortableConnection } from './connection.ts'
import { PortableRelay } from './relay.ts'

/** Waiting connections the kernel may hold while the loop is busy; the system's own maximum caps it. */
const BACKLOG = 4096
/** First keep-alive probe after this much silence: notices peers that vanished without a word. */
const KEEP_ALIVE_MS = 60_000

function listen(
  address: { host: string; port: number },
  onConnection: (connection: Connection) => void,
): Promise<Listener> {
  const server = createServer(
    { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS },
    (socket) => onConnection(new PortableConnection(socket)),
  )
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ ...address, backlog: BACKLOG }, () => {
      server.off('error', reject)
      // Accept errors (such as no free descriptor) concern one connection; the listener stays.
      server.on('error', () => undefined)
      const bound = server.address()
      const endpoint =
        bound !== null && typeof bound === 'object'
          ? { address: bound.address, port: bound.port }
          : { address: address.host, port: address.port }
      resolve({
        endpoint,
        close() {
          // Its callback waits for every connection to end; the listening socket is closed at once.
          server.close()
          return Promise.resolve()
        },
      })
    })
  })
}

function dial(address: string, port: number): Dialing {
  if (isIP(address) === 0) {
    return {
      result: Promise.resolve({ kind: 'failed', failure: 'other', code: 'not an IP literal' }),
      abort: () => undefined,
    }
  }
  const socket = connect({
    host: address,
    port,
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_MS,
    autoSelectFamily: false,
  })
  const result = new Promise<DialResult>((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      resolve({ kind: 'failed', failure: dialFailure(error.code), code: error.code ?? error.message })
    }
    socket.once('error', failed)
    socket.once('close', () => resolve({ kind: 'failed', failure: 'other', code: 'ECONNABORTED' }))
    socket.once('connect', () => {
      const connection = new PortableConnection(socket)
      socket.off('error', failed)
      resolve({ kind: 'connected', connection })
    })
  })
  return { result, abort: () => socket.destroy() }
}

const relay: Wire['relay'] = (client, upstream, limits, onEnd) => {
  if (!(client instanceof PortableConnection) || !(upstream instanceof PortableConnection)) {
    throw new TypeError('both connections must come from this wire')
  }
  return new PortableRelay(client, upstream, limits, onEnd)
}

export function createPortableWire(): Wire {
  return { name: 'portable', listen, dial, relay }
}
