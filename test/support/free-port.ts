import { createServer } from 'node:net'

/** A TCP port of 127.0.0.1 that nobody listens on right now. */
export async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const bound = server.address()
  await new Promise((resolve) => {
    server.close(resolve)
  })
  return typeof bound === 'object' && bound !== null ? bound.port : 0
}
