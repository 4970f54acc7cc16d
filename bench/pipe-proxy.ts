/**
 * The least that a CONNECT proxy on node:net can be: two sockets and two pipes. No policy, no names, no records. It
 * believes every head that comes in one piece. Usage: node pipe-proxy.ts PORT
 */
import { connect, createServer, type Socket } from 'node:net'

const [port] = process.argv.slice(2)

const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  client.on('error', () => client.destroy())
  client.once('data', (head) => {
    const target = /^CONNECT ([0-9.]+):([0-9]+) HTTP\/1\.1\r\n/.exec(head.toString('latin1'))
    if (!target) {
      client.end('HTTP/1.1 400 Bad Request\r\n\r\n')
      return
    }
    client.pause()
    join(client, target[1] ?? '', Number(target[2]))
  })
})

function join(client: Socket, host: string, port: number): void {
  const upstream = connect({ host, port, allowHalfOpen: true, noDelay: true })
  upstream.on('error', () => {
    client.destroy()
    upstream.destroy()
  })
  client.on('close', () => upstream.destroy())
  upstream.once('connect', () => {
    client.write('HTTP/1.1 200 OK\r\n\r\n')
    client.pipe(upstream)
    upstream.pipe(client)
  })
}

server.listen({ port: Number(port), host: '127.0.0.1', backlog: 4096 })
