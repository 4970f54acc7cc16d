/** A DNS server on 127.0.0.1, UDP and TCP on one port, that answers as its scripts say and counts what it is asked. */
import { createSocket, type Socket as UdpSocket } from 'node:dgram'
import { createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { decode, type DecodedPacket } from 'dns-packet'
import { NXDOMAIN, type Script } from './dns-scripts.ts'

export interface DnsQuery {
  readonly name: string
  /** `A`, `AAAA`, `PTR`, … */
  readonly type: string
  readonly transport: 'udp' | 'tcp'
  readonly packet: DecodedPacket
  readonly bytes: Buffer
}

export class DnsServer {
  /** Everything that was ever asked, in order. */
  readonly queries: DnsQuery[] = []
  readonly port: number
  readonly #udp: UdpSocket
  readonly #tcp: Server
  readonly #clients = new Set<Socket>()
  readonly #zone = new Map<string, Script>()
  readonly #closing = new AbortController()

  private constructor(port: number, udp: UdpSocket, tcp: Server) {
    this.port = port
    this.#udp = udp
    this.#tcp = tcp
    udp.on('message', (bytes, { port, address }) => {
      void this.#react(bytes, 'udp', (reply) => {
        if (!this.#closing.signal.aborted) udp.send(reply, port, address)
      })
    })
    tcp.on('connection', (client) => this.#serve(client))
  }

  static async start(): Promise<DnsServer> {
    for (;;) {
      const tcp = createServer()
      await new Promise<void>((resolve, reject) => {
        tcp.once('error', reject)
        tcp.listen(0, '127.0.0.1', resolve)
      })
      const bound = tcp.address()
      const port = typeof bound === 'object' && bound !== null ? bound.port : 0
      const udp = createSocket('udp4')
      const free = await new Promise<boolean>((resolve) => {
        udp.once('error', () => resolve(false))
        udp.bind(port, '127.0.0.1', () => resolve(true))
      })
      if (free) return new DnsServer(port, udp, tcp)
      // Somebody else has the port for UDP: another one, then.
      tcp.close()
      udp.close()
    }
  }

  /** As `dns.servers` takes it. */
  get address(): string {
    return `127.0.0.1:${this.port}`
  }

  /** Answers questions for `name` of `type`, or of every type, with the script from now on. Others get NXDOMAIN. */
  on(name: string, type: 'A' | 'AAAA' | 'any', script: Script): this {
    if (type === 'any') for (const one of ['A', 'AAAA']) this.#zone.delete(`${one} ${name}`)
    this.#zone.set(`${type} ${name}`, script)
    return this
  }

  count(type: string, name?: string): number {
    return this.queries.filter((query) => query.type === type && (name === undefined || query.name === name))
      .length
  }

  async close(): Promise<void> {
    this.#closing.abort()
    for (const client of this.#clients) client.destroy()
    await Promise.all([
      new Promise<void>((resolve) => {
        this.#tcp.close(() => resolve())
      }),
      new Promise<void>((resolve) => {
        this.#udp.close(resolve)
      }),
    ])
  }

  #serve(client: Socket): void {
    this.#clients.add(client)
    client.on('close', () => this.#clients.delete(client))
    client.on('error', () => undefined)
    let pending = Buffer.alloc(0)
    client.on('data', (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0)
        const bytes = pending.subarray(2, end)
        pending = pending.subarray(end)
        void this.#react(bytes, 'tcp', async (reply, byteEveryMs) => {
          const length = Buffer.alloc(2)
          length.writeUInt16BE(reply.length)
          const framed = Buffer.concat([length, reply])
          if (byteEveryMs === undefined) client.write(framed)
          else await this.#trickle(client, framed, byteEveryMs)
        })
      }
    })
  }

  async #trickle(client: Socket, bytes: Buffer, everyMs: number): Promise<void> {
    for (const byte of bytes) {
      if (client.destroyed || this.#closing.signal.aborted) return
      client.write(Buffer.of(byte))
      await sleep(everyMs, undefined, { signal: this.#closing.signal }).catch(() => undefined)
    }
  }

  async #react(
    bytes: Buffer,
    transport: DnsQuery['transport'],
    send: (reply: Buffer, byteEveryMs?: number) => void | Promise<void>,
  ): Promise<void> {
    const packet = decode(bytes)
    const question = packet.questions?.[0]
    if (!question) return
    const name = question.name.toLowerCase()
    const query = { name, type: question.type, transport, packet, bytes }
    this.queries.push(query)
    const script = this.#zone.get(`${question.type} ${name}`) ?? this.#zone.get(`any ${name}`) ?? NXDOMAIN
    const reaction = await script(query)
    for (const reply of reaction.replies) await send(reply, reaction.byteEveryMs)
  }
}
