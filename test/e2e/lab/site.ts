import { createSecureServer } from 'node:http2'
import type { Http2SecureServer, Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Authority } from './certificates.ts'
import type { Scope } from './scope.ts'

export type Handler = (request: Http2ServerRequest, response: Http2ServerResponse) => void

export interface Site {
  host: string
  address: string
  /** TLS connections so far. */
  connections: () => number
  /** Each request so far, such as `GET /v2/`. */
  requests: () => string[]
}

/** An HTTPS server (HTTP/2 and 1.1, as the page requires) for one name on one loopback address, port 443. */
export const startSite = async (
  scope: Scope,
  authority: Authority,
  host: string,
  address: string,
  handler: Handler,
): Promise<Site> => {
  const requests: string[] = []
  let connections = 0
  const open = new Set<{ destroy: () => void }>()
  const server: Http2SecureServer = createSecureServer({
    ...(await authority.issue(host)),
    allowHTTP1: true,
  })
  server.on('secureConnection', (socket) => {
    connections += 1
    open.add(socket)
    socket.once('close', () => open.delete(socket))
    socket.on('error', () => {})
  })
  server.on('request', (request, response) => {
    requests.push(`${request.method} ${request.url}`)
    response.on('error', () => {})
    handler(request, response)
  })
  server.on('sessionError', () => {})
  server.on('tlsClientError', () => {})
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(443, address, resolve)
  })
  scope.onClose(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of open) socket.destroy()
    await closed
  })
  return { host, address, connections: () => connections, requests: () => requests }
}
