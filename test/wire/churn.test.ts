/**
 * Tens of thousands of tunnels through the kernel wire, hundreds at a time, each ending in its own way: afterwards nothing
 * may be left, nothing may have ended twice, and no descriptor may have been used that was not open.
 */
import { fork } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { CloseCode } from '../../src/policy/reasons.ts'
import { isSupportedPlatform, loadLibc } from '../../src/wire/kernel/libc.ts'
import { createKernelWire, type KernelWire } from '../../src/wire/kernel/wire.ts'
import type { Connection, RelayLimits } from '../../src/wire/types.ts'
import { CheckedLibc } from '../support/checked-libc.ts'
import { until, within } from '../support/deadline.ts'
import { freePort } from '../support/free-port.ts'
import { between, pick, seededRandom, type Random } from '../support/random.ts'
import type { ChurnOrder, ChurnReport } from './churn-load.ts'

const TUNNELS = Number(process.env['SALLYPORT_CHURN'] ?? 20_000)
const SEED = Number(process.env['SALLYPORT_SEED'] ?? Date.now() % 2 ** 31)
const CONCURRENCY = 400
const MAX_IDLE_PIPES = 64
/** Long, so that a tunnel that nobody ends is seen: none may end by a limit. */
const LIMITS: RelayLimits = { idleTimeoutMs: 60_000, lingerTimeoutMs: 60_000 }
/** Several addresses of this machine, so that ports do not run out. */
const HOSTS = Array.from({ length: 16 }, (_, i) => `127.0.1.${i + 1}`)
const DEADLINE_MS = 30_000 + TUNNELS * 5

/** A gate without a pipeline: what comes in is dialled on, and joined. */
class Gate {
  relays = 0
  /** How often tunnels ended, by code. */
  readonly codes = new Map<CloseCode, number>()
  endedTwice = 0
  openRelays = 0
  serving = 0
  readonly errors: unknown[] = []
  readonly #wire: KernelWire
  readonly #random: Random
  readonly #port: number
  readonly #closedPort: number

  constructor(wire: KernelWire, random: Random, port: number, closedPort: number) {
    this.#wire = wire
    this.#random = random
    this.#port = port
    this.#closedPort = closedPort
  }

  serve(near: Connection, rough: boolean): void {
    this.serving += 1
    void (rough ? this.#rough(near) : this.#quiet(near))
      .catch((error: unknown) => this.errors.push(error))
      .finally(() => {
        this.serving -= 1
      })
  }

  async #quiet(near: Connection): Promise<void> {
    // Some are read first, as the pipeline does.
    if (this.#random() < 0.5) {
      const read = await near.read(LIMITS.idleTimeoutMs)
      if (read.kind !== 'data') {
        near.destroy()
        return
      }
      near.unread(read.bytes)
    }
    const dialled = await this.#dial(this.#port).result
    if (dialled.kind === 'failed') throw new Error(`the dial failed: ${dialled.code}`)
    this.#relay(near, dialled.connection)
  }

  /** What the pipeline does to clients it does not want, or not any more. */
  async #rough(near: Connection): Promise<void> {
    const delayMs = between(this.#random, 0, 10)
    switch (
      pick<'refused' | 'aborted' | 'destroyed' | 'polite' | 'cut'>(this.#random, [
        [1, 'refused'],
        [1, 'aborted'],
        [1, 'destroyed'],
        [1, 'polite'],
        [3, 'cut'],
      ])
    ) {
      case 'refused': {
        const dialled = await this.#dial(this.#closedPort).result
        if (dialled.kind === 'connected') throw new Error('a closed port was open')
        await near.finish(delayMs)
        return
      }
      case 'aborted': {
        const dialing = this.#dial(this.#port)
        if (delayMs > 5) await Promise.resolve()
        dialing.abort()
        const dialled = await dialing.result
        if (dialled.kind === 'connected') dialled.connection.destroy()
        near.destroy()
        return
      }
      case 'destroyed': {
        const dialing = this.#dial(this.#port)
        near.destroy()
        const dialled = await dialing.result
        if (dialled.kind === 'connected') dialled.connection.destroy()
        near.destroy()
        return
      }
      case 'polite': {
        near.write(Buffer.from('refused, politely'))
        await near.finish(delayMs)
        near.destroy()
        return
      }
      case 'cut': {
        const dialled = await this.#dial(this.#port).result
        if (dialled.kind === 'failed') throw new Error(`the dial failed: ${dialled.code}`)
        const relay = this.#relay(near, dialled.connection)
        setTimeout(() => relay.close('drain_timeout'), delayMs)
      }
    }
  }

  #dial(port: number) {
    return this.#wire.dial(HOSTS[between(this.#random, 0, HOSTS.length - 1)] ?? '', port)
  }

  #relay(near: Connection, far: Connection) {
    this.relays += 1
    this.openRelays += 1
    let ended = false
    return this.#wire.relay(near, far, LIMITS, {
      ended: (code) => {
        if (ended) this.endedTwice += 1
        else this.openRelays -= 1
        ended = true
        this.codes.set(code, (this.codes.get(code) ?? 0) + 1)
      },
    })
  }
}

/** The process with the clients and the host. */
async function startLoad() {
  const load = fork(new URL('churn-load.ts', import.meta.url), { execArgv: [] })
  onTestFinished(() => {
    load.kill()
  })
  const message = (what: string, ms?: number): Promise<unknown> =>
    within(
      new Promise((resolve, reject) => {
        load.once('message', resolve)
        load.once('exit', (code) => reject(new Error(`the load ended with ${code}`)))
      }),
      what,
      ms,
    )
  const port = Number(await message('the load listening'))
  return {
    port,
    async run(order: ChurnOrder): Promise<ChurnReport> {
      const report = message('the end of all tunnels', DEADLINE_MS)
      load.send(order)
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- churn-load.ts sends this
      return (await report) as ChurnReport
    },
  }
}

function descriptors(): number {
  return readdirSync('/proc/self/fd').length
}

describe.runIf(isSupportedPlatform())('churn', () => {
  test(
    `${TUNNELS} tunnels that end in every way leave nothing behind (SALLYPORT_SEED=${SEED})`,
    { timeout: DEADLINE_MS + 30_000 },
    async () => {
      const load = await startLoad()
      const closedPort = await freePort()
      const checked = new CheckedLibc(await loadLibc())
      const baseline = descriptors()
      const bugs: unknown[] = []
      const wire = createKernelWire(checked.libc, { onBug: (error) => bugs.push(error) })
      const gate = new Gate(wire, seededRandom(SEED), load.port, closedPort)
      const anywhere = { host: '127.0.0.1', port: 0 }
      const quiet = await wire.listen(anywhere, (near) => gate.serve(near, false))
      const rough = await wire.listen(anywhere, (near) => gate.serve(near, true))

      const report = await load.run({
        seed: SEED,
        tunnels: TUNNELS,
        concurrency: CONCURRENCY,
        quietPort: quiet.endpoint.port,
        roughPort: rough.endpoint.port,
      })
      // A client that is gone can be in the accept queue still.
      await until(() => gate.serving === 0 && wire.usage.sockets <= 2, 'every socket to be closed').catch(
        () => undefined,
      )

      expect(report.faults).toEqual([])
      expect(gate.errors).toEqual([])
      expect(bugs).toEqual([])
      expect(checked.violations).toEqual([])
      expect(gate.endedTwice).toBe(0)
      expect(gate.openRelays).toBe(0)
      expect([...gate.codes.values()].reduce((sum, count) => sum + count, 0)).toBe(gate.relays)
      expect(gate.codes.get('idle_timeout')).toBeUndefined()
      expect(gate.codes.get('linger_timeout')).toBeUndefined()
      expect(wire.usage.idlePipes).toBeLessThanOrEqual(MAX_IDLE_PIPES)
      await Promise.all([quiet.close(), rough.close()])
      expect(wire.usage.sockets).toBe(0)
      // What is open is the epoll instance and the idle pipes.
      expect(checked.open.size).toBe(1 + 2 * wire.usage.idlePipes)
      wire.dispose()
      expect([...checked.open]).toEqual([])
      await until(() => descriptors() === baseline, `${baseline} descriptors, as before`)
    },
  )
})
