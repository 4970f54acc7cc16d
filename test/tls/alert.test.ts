import { once } from 'node:events'
import { createServer } from 'node:net'
import { connect } from 'node:tls'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ALERTS, fatalAlert, type AlertName } from '../../src/tls/alert.ts'
import { within } from '../support/deadline.ts'

/** The numbers of RFC 8446 §6, and what OpenSSL calls the alerts that it is sent. */
const KNOWN: readonly (readonly [AlertName, number, RegExp])[] = [
  ['unexpected_message', 10, /unexpected.message/i],
  ['handshake_failure', 40, /handshake.failure/i],
  ['access_denied', 49, /access.denied/i],
  ['decode_error', 50, /decode.error/i],
  ['internal_error', 80, /internal.error/i],
  ['missing_extension', 109, /missing.extension/i],
  ['unrecognized_name', 112, /unrecognized.name/i],
]

test('every alert is looked at here', () => {
  expect(KNOWN.map(([name]) => name).toSorted()).toEqual(Object.keys(ALERTS).toSorted())
})

test.each(KNOWN)('%s is a fatal alert record with number %i', (name, number) => {
  expect(fatalAlert(name)).toEqual(Buffer.from([21, 3, 1, 0, 2, 2, number]))
})

describe('a TLS client that is sent one says which', () => {
  let answer: Buffer
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.once('data', () => socket.end(answer))
  })
  let port = 0
  beforeAll(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    port = address !== null && typeof address === 'object' ? address.port : 0
  })
  afterAll(() => {
    server.close()
  })

  test.each(KNOWN)('%s', async (name, _number, words) => {
    answer = fatalAlert(name)
    const client = connect({ port, host: '127.0.0.1', servername: 'cgr.dev' })
    const [error]: unknown[] = await within(once(client, 'error'), 'an error of the client')
    expect(String(error)).toMatch(words)
    client.destroy()
  })
})
