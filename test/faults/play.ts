/** Plays the rows of one moment through one gate, one after the other, and looks at what is left after each. */
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { DnsServer } from '../support/dns-server.ts'
import { addresses, after, NODATA } from '../support/dns-scripts.ts'
import { EchoServer } from '../support/echo-server.ts'
import { GateProcess } from '../support/gate-process.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'
import { FaultHost, LATENCY_MS, PIECE_MS, PIECES, SLOW_CLOSE_MS } from './fault-host.ts'
import { nameOf, STAGES, type Row, type Stage } from './matrix.ts'

/** Short, so that black holes end soon; long for everything that only is slow. */
const LIMITS = {
  headTimeout: '2s',
  dialTimeout: '3500ms',
  helloTimeout: '2s',
  idleTimeout: '3s',
  lingerTimeout: '3s',
}
const PAYLOAD_BYTES = 256 * 1024
/** How long both sides of a tunnel, and its record, may take to be gone. */
const REST_MS = 15_000

/** What came of a row; the same shape as what is expected of it. */
export interface Played {
  readonly decisions: readonly (string | undefined)[]
  readonly closings: readonly (string | undefined)[]
  /** Transfers that are whole. */
  readonly whole: readonly ('up' | 'down')[]
  /** Sockets of the gate that were not there before the row. */
  readonly socketsLeft: number
  /** Ends of pipes beyond those that the kernel wire may keep for the next transfer. */
  readonly pipeEndsLeft: number
  readonly bystander: 'untouched' | 'broken'
  readonly alive: boolean
}

interface Prepared {
  readonly row: Row
  readonly name: string
  readonly upload: Buffer
  readonly download: Buffer
  readonly hello: Buffer
  readonly host: FaultHost
  /** Settles the DNS answer. */
  readonly answer: () => void
}

/** Another tunnel that is open all the time, with a little on its way at every moment. */
class Bystander {
  readonly #client: RawClient
  readonly #sent = createHash('sha256')
  readonly #received = createHash('sha256')
  #sentBytes = 0
  #receivedBytes = 0
  readonly #beat: NodeJS.Timeout

  private constructor(client: RawClient) {
    this.#client = client
    this.#beat = setInterval(() => {
      const bytes = randomBytes(2048)
      this.#sentBytes += bytes.length
      this.#sent.update(bytes)
      client.socket.write(bytes)
      this.#take()
    }, 50)
  }

  static async open(gate: GateProcess, name: string, port: number): Promise<Bystander> {
    const client = await RawClient.connect(gate.port)
    await client.send(connectRequest(`${name}:${port}`))
    const { status } = await client.reply()
    if (status !== 200) throw new Error(`the bystander got ${status}`)
    const hello = await clientHello(name)
    await client.send(hello)
    await client.bytes(hello.length)
    return new Bystander(client)
  }

  /** What it sent by now comes back, byte for byte. */
  async state(): Promise<'untouched' | 'broken'> {
    const sent = this.#sentBytes
    try {
      await until(() => {
        this.#take()
        return this.#receivedBytes >= sent
      }, "the bystander's bytes")
      return 'untouched'
    } catch {
      return 'broken'
    }
  }

  /** Whether all that it ever sent came back. */
  async end(): Promise<boolean> {
    clearInterval(this.#beat)
    const state = await this.state()
    this.#client.finish()
    const end = await this.#client.ended()
    return state === 'untouched' && end === 'fin' && this.#sent.digest('hex') === this.#received.digest('hex')
  }

  #take(): void {
    const bytes = this.#client.take(this.#client.received.length)
    this.#receivedBytes += bytes.length
    this.#received.update(bytes)
  }
}

export interface StageReport {
  readonly rows: ReadonlyMap<string, Played | Error>
  /** The tunnel that was open all the time: every byte of it came back. */
  readonly bystanderWhole: boolean
  /** Decision records of the whole run, the bystander's left out. */
  readonly decisions: number
  readonly exitCode: number | string | null
  readonly stderr: string
}

export async function playStage(rows: readonly Row[]): Promise<StageReport> {
  const dns = await DnsServer.start()
  const echo = await EchoServer.start()
  const prepared = await Promise.all(rows.map((row, index) => prepare(row, index, dns)))
  dns
    .on('bystander.example.com', 'A', addresses(3600, '127.0.0.1'))
    .on('bystander.example.com', 'AAAA', NODATA)
  let gate: GateProcess | undefined
  try {
    gate = await GateProcess.start({
      policy: {
        presets: [],
        allow: [
          { host: 'bystander.example.com', port: echo.port },
          ...prepared.map(({ name, host }) => ({ host: name, port: host.port })),
        ],
      },
      dns: { servers: [dns.address], timeout: '10s', tries: 1, prefetch: false },
      addresses: { allow: ['127.0.0.0/8'] },
      limits: LIMITS,
    })
    const bystander = await Bystander.open(gate, 'bystander.example.com', echo.port)
    await until(() => gate?.audit.decisions.length === 1, 'the record of the bystander')
    const baseline = { sockets: await settledSockets(gate), pipeEnds: gate.pipeEnds() }
    const played = new Map<string, Played | Error>()
    for (const one of prepared) {
      const result = await play(one, gate, dns, bystander, baseline).catch((error: unknown) =>
        error instanceof Error ? error : new Error(String(error)),
      )
      played.set(nameOf(one.row), result)
    }
    const bystanderWhole = await bystander.end()
    const exitCode = await gate.stop()
    return {
      rows: played,
      bystanderWhole,
      decisions: gate.audit.decisions.length - 1,
      exitCode,
      stderr: gate.stderr,
    }
  } finally {
    for (const { host } of prepared) host.close()
    await gate?.dispose()
    await Promise.all([dns.close(), echo.close()])
  }
}

/** DNS sockets of the first question close a moment after it. */
async function settledSockets(gate: GateProcess): Promise<number> {
  // The listener, and both ends of the bystander; what Node itself needs is there from the start.
  let least = Number.POSITIVE_INFINITY
  for (let look = 0; look < 10; look += 1) {
    least = Math.min(least, gate.sockets())
    await sleep(20)
  }
  return least
}

async function prepare(row: Row, index: number, dns: DnsServer): Promise<Prepared> {
  const name = `${row.side}${index}.faults.example.com`
  const [upload, download] = [randomBytes(PAYLOAD_BYTES), randomBytes(PAYLOAD_BYTES)]
  const hello = await clientHello(name)
  const host = await FaultHost.open(row, download, hello.length)
  const answered = Promise.withResolvers<void>()
  if (row.stage !== 'during DNS') answered.resolve()
  dns.on(name, 'A', after(answered.promise, addresses(60, '127.0.0.1'))).on(name, 'AAAA', NODATA)
  return { row, name, upload, download, hello, host, answer: () => answered.resolve() }
}

interface Baseline {
  readonly sockets: number
  readonly pipeEnds: number
}

/**
 * Rows go one by one, beside the bystander: four directions, so the wire's pool never has reason to keep more than four
 * pipes, however many rows there are.
 */
const KEPT_PIPE_ENDS = 8

async function play(
  one: Prepared,
  gate: GateProcess,
  dns: DnsServer,
  bystander: Bystander,
  baseline: Baseline,
): Promise<Played> {
  const { row, name, host } = one
  const client = new ScriptedClient(await RawClient.connect(gate.port), one)
  const own = (record: { destination?: { domain?: string | undefined } | undefined }): boolean =>
    record.destination?.domain === name
  const before = gate.audit.decisions.length
  try {
    for (const stage of STAGES) {
      await client.advance(stage, dns)
      if (stage === row.stage && (await client.suffer())) break
    }
    await client.conclude()
    const wanted = row.decision === undefined ? 0 : 1
    await until(() => gate.audit.decisions.length - before >= wanted, 'the decision', REST_MS)
    if (row.decision === 'allowed')
      await until(() => gate.audit.closings.some(own), 'the closing record', REST_MS)
    const whole = client.whole()
    client.destroy()
    const left = () => ({
      socketsLeft: Math.max(0, gate.sockets() - baseline.sockets),
      pipeEndsLeft: Math.max(0, gate.pipeEnds() - baseline.pipeEnds - KEPT_PIPE_ENDS),
    })
    await until(() => left().socketsLeft === 0, 'the sockets of the gate to close', REST_MS).catch(
      () => undefined,
    )
    // They go in the same breath; what leaked for one row is there for all that follow, so none waits long.
    await until(() => left().pipeEndsLeft === 0, 'the pipes of the gate to close', 1000).catch(
      () => undefined,
    )
    return {
      // Rows go one by one: whatever was decided since belongs to this one, named or not.
      decisions: gate.audit.decisions.slice(before).map(({ event }) => event.reason),
      closings: gate.audit.closings.filter(own).map(({ event }) => event.reason),
      whole,
      ...left(),
      bystander: await bystander.state(),
      alive: gate.alive,
    }
  } finally {
    client.destroy()
    host.close()
  }
}

/** Goes through a tunnel step by step; at the row's moment one of the two sides breaks. */
class ScriptedClient {
  readonly #client: RawClient
  readonly #one: Prepared
  #lame: 'latency' | 'bandwidth limit' | undefined
  #gone = false
  #answered = ''
  readonly #down = createHash('sha256')
  #downBytes = 0

  constructor(client: RawClient, one: Prepared) {
    this.#client = client
    this.#one = one
  }

  /** Brings the attempt to this moment. */
  async advance(stage: Stage, dns: DnsServer): Promise<void> {
    const { row, name, hello, upload, host } = this.#one
    const request = connectRequest(`${name}:${host.port}`)
    switch (stage) {
      case 'before CONNECT':
        break
      case 'head half sent':
        await this.#send(Buffer.from(request.slice(0, 20)))
        // So that the gate sees the half by itself.
        await sleep(30)
        break
      case 'during DNS':
        await this.#send(Buffer.from(request.slice(20)))
        await until(() => dns.count('A', name) > 0, 'the question')
        break
      case 'during dial':
        if (row.stage === stage) await until(() => host.held?.wanted === true, 'the SYN')
        break
      case 'after the 200':
        this.#answered = (await this.#client.reply()).statusLine
        if (this.#answered.includes(' 200 ')) await host.connected()
        break
      case 'mid hello':
        await this.#send(hello.subarray(0, 60))
        await sleep(30)
        break
      case 'mid stream':
        await this.#send(hello.subarray(60))
        await this.#send(upload.subarray(0, upload.length / 2))
        await host.send(0, 0.5)
        if (row.stage === stage) {
          await until(() => host.received >= hello.length + upload.length / 2, 'half the upload')
          await until(() => this.#take() >= upload.length / 2, 'half the download')
        }
        break
    }
  }

  /** The row's fault, now. Whether the client can do no more. */
  async suffer(): Promise<boolean> {
    const { row, host } = this.#one
    if (row.side === 'client') await this.#sufferItself()
    else host.break()
    // What was held at this moment goes on, after the fault; a host that drops SYNs never does.
    await sleep(100)
    this.#one.answer()
    const dead = row.side === 'host' && (row.fault === 'black hole' || row.fault === 'reset')
    if (row.stage === 'during dial' && !dead) host.release()
    return this.#gone
  }

  /** The rest of the transfer, as far as it goes. */
  async conclude(): Promise<void> {
    const { row, host, upload } = this.#one
    const half = row.fault === 'half-close'
    if (row.side === 'client' && this.#gone) {
      const finishes = half || row.fault === 'slow close' || row.fault === 'truncated stream'
      if (!finishes || row.stage !== 'mid stream') return
      await until(() => host.finished, 'the FIN to arrive')
    } else if (this.#answered.includes(' 200 ')) {
      await this.#send(upload.subarray(upload.length / 2))
      // Towards a black hole nobody can finish anything.
      if (row.side === 'host' && !half && row.survives.length === 0) {
        await this.#ended()
        return
      }
      this.#client.finish()
      await until(() => host.finished, 'the FIN to arrive')
    } else return
    await host.send(0.5, 1)
    host.end()
    await this.#ended()
  }

  whole(): ('up' | 'down')[] {
    const { upload, download, host } = this.#one
    const sha = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')
    this.#take()
    return [
      ...(host.hash === sha(upload) ? (['up'] as const) : []),
      ...(this.#down.copy().digest('hex') === sha(download) ? (['down'] as const) : []),
    ]
  }

  destroy(): void {
    this.#client.destroy()
  }

  async #ended(): Promise<void> {
    await until(
      () => {
        this.#take()
        return this.#client.socket.readableEnded || this.#client.socket.destroyed
      },
      'the end of the tunnel',
      REST_MS,
    )
    this.#client.finish()
  }

  /** How much of the download is there. */
  #take(): number {
    const bytes = this.#client.take(this.#client.received.length)
    // Before the 200 there is no download.
    if (this.#answered !== '') this.#down.update(bytes)
    this.#downBytes += bytes.length
    return this.#downBytes
  }

  async #send(bytes: Buffer): Promise<void> {
    if (this.#lame === 'latency') await sleep(LATENCY_MS)
    if (this.#lame !== 'bandwidth limit') {
      await this.#client.send(bytes)
      return
    }
    const size = Math.ceil(bytes.length / PIECES)
    for (let at = 0; at < bytes.length; at += size) {
      await this.#client.send(bytes.subarray(at, at + size))
      await sleep(PIECE_MS)
    }
  }

  async #sufferItself(): Promise<void> {
    const { row, upload } = this.#one
    const { socket } = this.#client
    switch (row.fault) {
      case 'latency':
      case 'bandwidth limit':
        this.#lame = row.fault
        return
      case 'reset':
        socket.resetAndDestroy()
        break
      case 'half-close':
        this.#client.finish()
        break
      case 'slow close':
        await sleep(SLOW_CLOSE_MS)
        socket.destroy()
        break
      case 'truncated stream':
        // Half the head or half the hello is out by now; of the stream, a quarter more.
        if (row.stage === 'mid stream') {
          const from = upload.length / 2
          await this.#client.send(upload.subarray(from, from + upload.length / 4))
        }
        socket.destroy()
        break
      case 'black hole':
        socket.pause()
        break
    }
    this.#gone = true
  }
}
