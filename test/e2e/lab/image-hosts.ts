import { request as httpRequest } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import type { Http2ServerRequest, Http2ServerResponse } from 'node:http2'
import type { Handler } from './site.ts'

const hopByHop = new Set(['connection', 'keep-alive', 'transfer-encoding', 'upgrade', 'proxy-connection'])

const endToEnd = (headers: IncomingHttpHeaders): IncomingHttpHeaders =>
  Object.fromEntries(
    Object.entries(headers).filter(
      ([name]) => !name.startsWith(':') && !hopByHop.has(name) && name !== 'host',
    ),
  )

/** Passes a request on to the registry behind, and its answer back. */
const passOn = (
  registry: string,
  path: string,
  request: Http2ServerRequest,
  response: Http2ServerResponse,
): void => {
  const [host, port] = registry.split(':')
  const headers = endToEnd(request.headers)
  const upstream = httpRequest({ host, port, path, method: request.method, headers, agent: false })
  upstream.once('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, endToEnd(answer.headers))
    answer.pipe(response)
  })
  upstream.once('error', () => response.stream?.destroy())
  request.pipe(upstream)
}

/** cgr.dev: asks for a token as the real one does, and sends those who GET a blob to the blob host. */
export const registryHost =
  (registry: string, blobHost: string): Handler =>
  (request, response) => {
    const path = request.url
    if (path.startsWith('/token')) {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ token: 'a-token', expires_in: 300 }))
    } else if (request.headers.authorization !== 'Bearer a-token') {
      const challenge = 'Bearer realm="https://cgr.dev/token",service="cgr.dev"'
      response.writeHead(401, { 'www-authenticate': challenge, 'content-type': 'application/json' })
      response.end('{"errors":[{"code":"UNAUTHORIZED"}]}')
    } else if (request.method === 'GET' && /^\/v2\/.+\/blobs\//.test(path)) {
      response.writeHead(307, { location: `https://${blobHost}/registry${path}?X-Amz-Signature=abc` })
      response.end()
    } else {
      passOn(registry, path, request, response)
    }
  }

/** The blob host: streams what the registry holds, to whoever was sent here. */
export const blobHost =
  (registry: string): Handler =>
  (request, response) => {
    const blob = /^\/registry(\/v2\/.+\/blobs\/sha256:[0-9a-f]{64})\?/.exec(request.url)?.[1]
    if (blob === undefined) response.writeHead(404).end()
    else passOn(registry, blob, request, response)
  }
