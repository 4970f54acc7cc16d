/** Real ClientHello messages, as Node's own TLS client sends them. */
import { Duplex } from 'node:stream'
import { connect, type ConnectionOptions } from 'node:tls'
import { within } from './deadline.ts'

/** The first record that a TLS client for `serverName` sends; without a name it sends no SNI. */
export async function clientHello(serverName?: string, options: ConnectionOptions = {}): Promise<Buffer> {
  let sent = Buffer.alloc(0)
  const whole = Promise.withResolvers<Buffer>()
  const wire = new Duplex({
    read: () => undefined,
    write(chunk: Buffer, _, done) {
      sent = Buffer.concat([sent, chunk])
      if (sent.length >= 5 && sent.length >= 5 + sent.readUInt16BE(3)) whole.resolve(sent)
      done()
    },
  })
  const client = connect({
    ...options,
    socket: wire,
    ...(serverName !== undefined && { servername: serverName }),
  })
  client.on('error', () => undefined)
  try {
    return await within(whole.promise, 'a ClientHello')
  } finally {
    client.destroy()
    wire.destroy()
  }
}
