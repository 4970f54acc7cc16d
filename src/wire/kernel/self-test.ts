/**
 * Proves the kernel wire on this machine before traffic depends on it: one tunnel over loopback, 4 MiB each way, ended by
 * half-close. A sandbox that refuses a call, or a kernel that lacks one, shows here.
 */
import type { Connection, Wire } from '../types.ts'

const BYTES_EACH_WAY = 4 * 1024 * 1024
const CHUNK = Buffer.alloc(256 * 1024, 'sallyport')
/** Ten times what it takes on a slow machine. */
const DEADLINE_MS = 2000

/** What is wrong, or nothing. */
export async function selfTest(wire: Wire): Promise<string | undefined> {
  const open: Connection[] = []
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(resolve, DEADLINE_MS, `the self-test took longer than ${DEADLINE_MS} ms`)
  })
  try {
    return await Promise.race([runTunnel(wire, open), late])
  } finally {
    clearTimeout(timer)
    for (const connection of open) connection.destroy()
  }
}

async function runTunnel(wire: Wire, open: Connection[]): Promise<string | undefined> {
  const host = await acceptOne(wire)
  const gate = await acceptOne(wire)
  try {
    const client = await connect(wire, gate.port, open)
    const near = await gate.connection
    const far = await connect(wire, host.port, open)
    const server = await host.connection
    open.push(server)
    const limits = { idleTimeoutMs: DEADLINE_MS, lingerTimeoutMs: DEADLINE_MS }
    const end = new Promise<string>((ended) => {
      wire.relay(near, far, limits, { ended })
    })
    const [up, down] = await Promise.all([exchange(client, server), exchange(server, client)])
    if (up !== BYTES_EACH_WAY || down !== BYTES_EACH_WAY)
      return `the self-test lost bytes (${up} up, ${down} down)`
    const code = await end
    return code === 'completed' ? undefined : `the self-test's tunnel ended with ${code}`
  } finally {
    await Promise.all([host.close(), gate.close()])
  }
}

/** Sends everything and FIN one way, piece by piece, and counts what arrives at the other end. */
async function exchange(from: Connection, to: Connection): Promise<number> {
  let received = 0
  for (let sent = CHUNK.length; sent <= BYTES_EACH_WAY; sent += CHUNK.length) {
    from.write(CHUNK)
    if (sent === BYTES_EACH_WAY) from.end()
    // The next piece leaves when this one has come through, so that nothing piles up in memory.
    while (received < sent) {
      const read = await to.read(DEADLINE_MS)
      if (read.kind !== 'data') return received
      received += read.bytes.length
    }
  }
  const end = await to.read(DEADLINE_MS)
  return end.kind === 'end' ? received : -1
}

async function acceptOne(wire: Wire) {
  let take: (connection: Connection) => void = () => undefined
  const connection = new Promise<Connection>((resolve) => {
    take = resolve
  })
  const listener = await wire.listen({ host: '127.0.0.1', port: 0 }, take)
  return { connection, port: listener.endpoint.port, close: () => listener.close() }
}

async function connect(wire: Wire, port: number, open: Connection[]): Promise<Connection> {
  const dialled = await wire.dial('127.0.0.1', port).result
  if (dialled.kind === 'failed') throw new Error(`the self-test cannot connect: ${dialled.code}`)
  open.push(dialled.connection)
  return dialled.connection
}
