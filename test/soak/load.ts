/** Clients that come and go: whole tunnels, resets, denials, wrong server names; and some that stay all the time. */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { clientHello } from '../support/client-hello.ts'
import { connectRequest } from '../support/lab.ts'
import { between, type Random } from '../support/random.ts'
import { RawClient } from '../support/raw-client.ts'

export interface LoadOptions {
  readonly gatePort: number
  readonly target: string
  readonly random: Random
  /** Clients at a time. */
  readonly clients: number
  /** Share of tunnels that their client resets in the middle. */
  readonly resets: number
}

export interface LoadCounts {
  connects: number
  whole: number
  reset: number
  denied: number
  fronted: number
  bytes: number
  readonly errors: string[]
}

const MAX_ERRORS = 20
const STEADY = 8

export class Load {
  readonly counts: LoadCounts = {
    connects: 0,
    whole: 0,
    reset: 0,
    denied: 0,
    fronted: 0,
    bytes: 0,
    errors: [],
  }
  readonly #options: LoadOptions
  readonly #payload = randomBytes(512 * 1024)
  #running = true
  #done: Promise<unknown> = Promise.resolve()
  #hello: Buffer = Buffer.alloc(0)
  #other: Buffer = Buffer.alloc(0)

  constructor(options: LoadOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    this.#hello = await clientHello('cgr.dev')
    this.#other = await clientHello('evil.test')
    const visitors = Array.from({ length: this.#options.clients }, (_, index) => this.#visitor(index))
    const steady = Array.from({ length: STEADY }, () => this.#steady())
    this.#done = Promise.all([...visitors, ...steady])
  }

  async stop(): Promise<void> {
    this.#running = false
    await this.#done
  }

  async #visitor(index: number): Promise<void> {
    // From several addresses, so that ports do not run out.
    const localAddress = `127.0.0.${(index % 16) + 1}`
    while (this.#running) {
      await this.#attempt(() => this.#visit(localAddress))
      await sleep(between(this.#options.random, 5, 40))
    }
  }

  async #visit(localAddress: string): Promise<void> {
    const { gatePort, target, random, resets } = this.#options
    const { counts } = this
    const client = await RawClient.connect(gatePort, { localAddress })
    try {
      const kind = random()
      counts.connects += 1
      if (kind < 0.05) {
        await client.send(connectRequest(`h${between(random, 1, 1e9)}.example.com:443`))
        expectStatus((await client.reply()).status, 403)
        counts.denied += 1
        return
      }
      await client.send(connectRequest(target))
      expectStatus((await client.reply()).status, 200)
      if (kind < 0.07) {
        await client.send(this.#other)
        const alert = await client.rest()
        if (alert[0] !== 21) throw new Error('no alert for another server name')
        counts.fronted += 1
        return
      }
      await this.#exchange(client, this.#hello)
      const bytes = this.#payload.subarray(0, between(random, 1, 2 ** between(random, 8, 19)))
      if (random() < resets) {
        await client.send(bytes)
        client.socket.resetAndDestroy()
        counts.reset += 1
        return
      }
      await this.#exchange(client, bytes)
      client.finish()
      if ((await client.ended()) !== 'fin') throw new Error('a tunnel was reset')
      counts.whole += 1
    } finally {
      client.destroy()
    }
  }

  /** One tunnel for the whole time. */
  async #steady(): Promise<void> {
    await this.#attempt(async () => {
      this.counts.connects += 1
      const client = await RawClient.connect(this.#options.gatePort)
      await client.send(connectRequest(this.#options.target))
      expectStatus((await client.reply()).status, 200)
      await this.#exchange(client, this.#hello)
      while (this.#running) {
        await this.#exchange(client, this.#payload.subarray(0, between(this.#options.random, 1, 5000)))
        await sleep(250)
      }
      client.finish()
      await client.ended()
      this.counts.whole += 1
    })
  }

  /** Sends the bytes and wants them back as they were. */
  async #exchange(client: RawClient, bytes: Buffer): Promise<void> {
    await client.send(bytes)
    const echoed = await client.bytes(bytes.length)
    if (!echoed.equals(bytes)) throw new Error('other bytes came back')
    this.counts.bytes += 2 * bytes.length
  }

  async #attempt(visit: () => Promise<void>): Promise<void> {
    try {
      await visit()
    } catch (error) {
      const { errors } = this.counts
      if (errors.length < MAX_ERRORS) errors.push(error instanceof Error ? error.message : String(error))
    }
  }
}

function expectStatus(status: number, wanted: number): void {
  if (status !== wanted) throw new Error(`status ${status}, not ${wanted}`)
}
