/** The portable wire: node:net, on every platform. */
import { connect, createServer, isIP } from 'node:net'
import { dialFailure } from '../dial-failure.ts'
import type { Dialing, DialResult, Wire } from '../types.ts'
import { PortableConnection } from './connection.ts'
import { listenOn, TCP_OPTIONS } from './listen.ts'
import { ReadBuffer } from './read-buffer.ts'
import { PortableRelay } from './relay.ts'

function dial(address: string, port: number, asStream = false): Dialing {
  if (isIP(address) === 0) {
    return {
      result: Promise.resolve({ kind: 'failed', failure: 'other', code: 'not an IP literal' }),
      abort: () => undefined,
    }
  }
  const buffer = asStream ? undefined : new ReadBuffer()
  const socket = connect({
    host: address,
    port,
    allowHalfOpen: true,
    noDelay: true,
    // No keep-alive here: the idle limit ends a tunnel whose host is gone, and it would be four calls for each tunnel.
    autoSelectFamily: false,
    ...(buffer && { onread: { buffer: buffer.next, callback: buffer.take } }),
  })
  const result = new Promise<DialResult>((resolve) => {
    const failed = (error: NodeJS.ErrnoException): void => {
      resolve({ kind: 'failed', failure: dialFailure(error.code), code: error.code ?? error.message })
    }
    socket.once('error', failed)
    socket.once('close', () => {
      buffer?.giveBack()
      resolve({ kind: 'failed', failure: 'other', code: 'ECONNABORTED' })
    })
    socket.once('connect', () => {
      const connection = new PortableConnection(socket, {
        remote: { address, port },
        ...(buffer && { buffer }),
      })
      socket.off('error', failed)
      resolve({ kind: 'connected', connection })
    })
  })
  return { result, abort: () => socket.destroy() }
}

const relay: Wire['relay'] = (client, upstream, limits, owner, inspector) => {
  if (!(client instanceof PortableConnection) || !(upstream instanceof PortableConnection)) {
    throw new TypeError('both connections must come from this wire')
  }
  return new PortableRelay(client, upstream, limits, owner, inspector)
}

const release: Wire['release'] = (connection) => {
  if (!(connection instanceof PortableConnection))
    throw new TypeError('the connection must come from this wire')
  if (!connection.streams) throw new TypeError('the connection was not dialled to become a stream')
  const { socket } = connection
  if (connection.broken !== undefined || connection.ended || socket.destroyed) {
    socket.destroy()
    return undefined
  }
  socket.pause()
  for (const chunk of connection.release().toReversed()) socket.unshift(chunk)
  return socket
}

export interface PortableWireOptions {
  /** Lets several processes listen on one address, each with its share of the connections. Not on every system. */
  readonly reusePort?: boolean
  /** Accepting a connection failed, such as for want of descriptors (`code` EMFILE or ENFILE). */
  readonly onAcceptPaused?: (code: string) => void
}

export function createPortableWire(options: PortableWireOptions = {}): Wire {
  return {
    name: 'portable',
    listen(address, onConnection) {
      const server = createServer(TCP_OPTIONS, (socket) => onConnection(new PortableConnection(socket)))
      return listenOn(server, address, options)
    },
    dial,
    relay,
    release,
  }
}
