/** Who gives up a connection when there are too many. With real sockets. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { Places } from '../../src/admin/places.ts'
import { until, within } from '../support/deadline.ts'

const MOST = 4

/** A listener with four places, of which an address may have two of its own replaced. */
async function open() {
  const places = new Places(MOST, { perSecond: 0, burst: 2 })
  const server = createServer()
  onTestFinished(() => void server.close())
  server.listen(0, '127.0.0.1')
  await within(once(server, 'listening'), 'the listener')
  const address = server.address()
  const port = address !== null && typeof address === 'object' ? address.port : 0
  /** The server's end of a connection, which has come. */
  return {
    places,
    come: async (localAddress: string): Promise<Socket> => {
      const accepted = once(server, 'connection')
      const client = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => undefined)
      onTestFinished(() => void client.destroy())
      const [socket]: Socket[] = await within(accepted, 'a connection')
      if (!socket) throw new Error('no socket')
      places.take(socket, 0)
      return socket
    },
  }
}

const MANY = '127.0.0.1'
const FEW = '127.0.0.2'
const gone = (sockets: readonly Socket[]): readonly boolean[] => sockets.map(({ destroyed }) => destroyed)

test('the address with the most gives up the one on which nothing was asked for longest', async () => {
  const { places, come } = await open()
  const few = await come(FEW)
  const many = [await come(MANY), await come(MANY), await come(MANY)] as const
  places.use(many[0])
  await come(FEW)
  expect([few.destroyed, gone(many)]).toEqual([false, [false, true, false]])
})

test('what is kept is not given up, and its place is free when it ends', async () => {
  const { places, come } = await open()
  const sockets = [await come(MANY), await come(MANY), await come(MANY), await come(MANY)] as const
  places.keep(sockets[0])
  await come(MANY)
  expect(gone(sockets)).toEqual([false, true, false, false])
  sockets[0].destroy()
  await until(() => sockets[0].closed, 'the end of it')
  await come(MANY)
  expect(gone(sockets)).toEqual([true, true, false, false])
})

test('who has its own replaced too often is refused, and nobody else is', async () => {
  const { come } = await open()
  const first = [await come(MANY), await come(MANY), await come(MANY), await come(MANY)]
  const replacing = [await come(MANY), await come(MANY)]
  expect([gone(first), gone(replacing)]).toEqual([
    [true, true, false, false],
    [false, false],
  ])
  expect((await come(MANY)).destroyed).toBe(true)
  expect([gone(first), gone(replacing)]).toEqual([
    [true, true, false, false],
    [false, false],
  ])
  expect((await come(FEW)).destroyed).toBe(false)
  expect(gone(first)).toEqual([true, true, true, false])
})
