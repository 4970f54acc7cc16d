/** Listening with node:net. */
import type { Server } from 'node:net'
import type { Listener, ListeningAddress } from '../types.ts'

/** Waiting connections the kernel may hold while the loop is busy; the system's own maximum caps it. */
const BACKLOG = 4096
/** First keep-alive probe after this much silence: notices peers that vanished without a word. */
export const KEEP_ALIVE_MS = 60_000

/** What every accepted socket is like. */
export const TCP_OPTIONS = {
  allowHalfOpen: true,
  noDelay: true,
  keepAlive: true,
  keepAliveInitialDelay: KEEP_ALIVE_MS,
}

export interface ListenOptions {
  readonly reusePort?: boolean
  /** Accepting a connection failed, with the errno's name; the listener stays. */
  readonly onAcceptPaused?: (code: string) => void
}

export function listenOn(
  server: Server,
  address: ListeningAddress,
  { reusePort = false, onAcceptPaused }: ListenOptions = {},
): Promise<Listener> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    const where =
      address.fd === undefined ? { host: address.host, port: address.port, reusePort } : { fd: address.fd }
    server.listen({ ...where, backlog: BACKLOG }, () => {
      server.off('error', reject)
      // Accept errors (such as no free descriptor) concern one connection; the listener stays.
      server.on('error', (error: NodeJS.ErrnoException) => onAcceptPaused?.(error.code ?? error.message))
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
