/**
 * Runs in the namespace outside: an HTTPS server for every name and address there. `/drip/<pieces>/<every ms>` is a
 * download that takes its time; everything else answers with the address that it was asked on.
 *
 *     node outside-site.ts CERTIFICATE KEY
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'

const [cert = '', key = ''] = process.argv.slice(2)
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
  const [, pieces, everyMs] = /^\/drip\/(\d+)\/(\d+)$/.exec(request.url ?? '') ?? []
  response.on('error', () => undefined)
  if (pieces === undefined) response.end(`${request.socket.localAddress}\n`)
  else void drip(Number(pieces), Number(everyMs))

  async function drip(left: number, everyMs: number): Promise<void> {
    response.writeHead(200, { 'content-length': String(left * 16_384) })
    for (let piece = 0; piece < left && !response.destroyed; piece += 1) {
      response.write(Buffer.alloc(16_384, piece))
      await sleep(everyMs)
    }
    response.end()
  }
})
server.listen(443, '::', () => process.stdout.write('listening\n'))
