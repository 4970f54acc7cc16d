/** What Node's own parser makes of a head: a server of node:http, fed without a socket. */
import { createServer, type IncomingMessage } from 'node:http'
import { Duplex } from 'node:stream'
import { within } from '../support/deadline.ts'

export interface Meaning {
  readonly method: string | undefined
  readonly target: string | undefined
  readonly version: string
  readonly host: string | undefined
  readonly userAgent: string | undefined
  readonly rest: string
  /** How the body of a request ends. */
  readonly framing?: string
}

/** Each head at once and in one piece; `refused` where Node does not take it. */
export function askNode(bytes: Buffer): Promise<Meaning | 'refused'> {
  const { promise, resolve } = Promise.withResolvers<Meaning | 'refused'>()
  const server = createServer({ requireHostHeader: true }, (request) =>
    resolve({
      method: request.method,
      target: request.url,
      version: request.httpVersion,
      host: request.headers.host,
      userAgent: request.headers['user-agent'],
      rest: '',
      framing:
        request.headers['transfer-encoding'] ?? (request.headers['content-length'] ? 'length' : 'none'),
    }),
  )
  server.on('connect', (request: IncomingMessage, _, rest: Buffer) =>
    resolve({
      method: request.method,
      target: request.url,
      version: request.httpVersion,
      host: request.headers.host,
      userAgent: request.headers['user-agent'],
      rest: rest.toString('latin1'),
    }),
  )
  server.on('clientError', () => resolve('refused'))
  const wire = new Duplex({ read: () => undefined, write: (_chunk, _encoding, done) => done() })
  server.emit('connection', wire)
  wire.push(bytes)
  wire.push(null)
  return within(promise, 'a verdict of node:http').finally(() => {
    wire.destroy()
    server.close()
  })
}
