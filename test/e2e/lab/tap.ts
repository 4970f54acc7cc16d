import { connect, createServer } from 'node:net'
import type { Scope } from './scope.ts'

export interface Seen {
  /** The first line the client sent, such as `CONNECT cgr.dev:443 HTTP/1.1`. */
  request: string
  /** The whole head, as the client sent it. */
  head: string
  /** The port from which the gate saw it come. */
  port: number
}

export interface Tap {
  url: string
  /** Sends the connections from now on to this gate, and forgets what was seen. */
  lead: (gatePort: number) => void
  connects: () => Seen[]
}

/**
 * A wire tap between the clients and the gate that changes nothing: it counts what was really asked, so that the
 * audit trail can be held against it connection by connection.
 */
export const startTap = async (scope: Scope): Promise<Tap> => {
  let gatePort = 0
  let seen: Seen[] = []
  const open = new Set<{ destroy: () => void }>()
  const server = createServer({ allowHalfOpen: true }, (client) => {
    const gate = connect({ port: gatePort, host: '127.0.0.1', allowHalfOpen: true })
    let head = ''
    const read = (chunk: Buffer): void => {
      head += chunk.toString('latin1')
      const end = head.indexOf('\r\n\r\n')
      if (end < 0) return
      client.off('data', read)
      head = head.slice(0, end)
      const note = (): void => {
        seen.push({ request: head.split('\r\n')[0] ?? '', head, port: gate.localPort ?? 0 })
      }
      if (gate.connecting) gate.once('connect', note)
      else note()
    }
    client.on('data', read)
    for (const [one, other] of [[client, gate] as const, [gate, client] as const]) {
      open.add(one)
      one.pipe(other)
      one.on('error', () => other.destroy())
      one.once('close', () => open.delete(one))
    }
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : 0
  scope.onClose(async () => {
    const closed = new Promise((resolve) => server.close(resolve))
    for (const socket of open) socket.destroy()
    await closed
  })
  const lead = (to: number): void => {
    gatePort = to
    seen = []
  }
  return { url: `http://127.0.0.1:${port}`, lead, connects: () => seen }
}
