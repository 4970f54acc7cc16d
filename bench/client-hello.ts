/** A real ClientHello, as Node's own TLS client sends it. */
import { Duplex } from 'node:stream'
import { connect } from 'node:tls'

/** The first record of a TLS connection to `serverName`. */
export function captureClientHello(serverName: string): Promise<Buffer> {
  return new Promise((resolve) => {
    let sent = Buffer.alloc(0)
    const wire = new Duplex({
      read: () => undefined,
      write(chunk: Buffer, _, done) {
        sent = Buffer.concat([sent, chunk])
        if (sent.length >= 5 && sent.length === 5 + sent.readUInt16BE(3)) resolve(sent)
        done()
      },
    })
    connect({ socket: wire, servername: serverName }).on('error', () => undefined)
  })
}
