/**
 * 100,000 denials through the real program: its records, its totals, its metrics and what the clients were told are one
 * number.
 */
import { connect } from 'node:net'
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from '../support/free-port.ts'
import { GateProcess } from '../support/gate-process.ts'

const DENIALS = 100_000
const AT_ONCE = 100

interface Told {
  readonly event: { readonly action: string }
  readonly sallyport: {
    readonly folded?: { readonly count: number }
    readonly totals?: { readonly denied: number; readonly dropped: number }
  }
}

/** Asks once, and says whether the answer was the refusal. */
function ask(port: number, host: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    let answer = ''
    socket.setEncoding('latin1')
    socket.write(`CONNECT ${host}:443 HTTP/1.1\r\nHost: ${host}:443\r\n\r\n`)
    socket.on('data', (text: string) => {
      answer += text
    })
    socket.on('error', () => undefined)
    socket.on('close', () => resolve(answer.startsWith('HTTP/1.1 403 ')))
  })
}

test.each([1, 2])(
  'with %i workers',
  async (workers) => {
    const lines: string[] = []
    const admin = `127.0.0.1:${await freePort()}`
    const settings = {
      workers,
      admin: { listen: admin },
      wire: 'auto',
      audit: { fold: { above: 10, within: '10s' } },
    }
    const startMs = performance.now()
    const gate = await GateProcess.start(settings, { onLine: (line) => lines.push(line) })
    onTestFinished(() => gate.dispose())
    let asked = 0
    let refused = 0
    const client = async (): Promise<void> => {
      while (asked < DENIALS / workers) {
        asked += 1
        // Half of them for the same few hosts, half for hosts that nobody has asked for before.
        const host = asked % 2 === 0 ? `h${asked % 14}.example` : `h${asked}.example`
        if (await ask(gate.port, host)) refused += 1
      }
    }
    await Promise.all(Array.from({ length: AT_ONCE }, client))
    const metrics = await (await fetch(`http://${admin}/metrics`)).text()
    expect(await gate.stop()).toBe(0)
    const whiles = Math.ceil((performance.now() - startMs) / 10_000) + 1

    const records = lines.map((line): Told => JSON.parse(line))
    const singles = records.filter(({ event }) => event.action === 'tunnel-denied').length
    const folded = records.reduce((sum, { sallyport }) => sum + (sallyport.folded?.count ?? 0), 0)
    const totals = records.at(-1)?.sallyport.totals
    expect(totals).toMatchObject({ denied: refused, dropped: 0 })
    expect(singles + folded).toBe(refused)
    expect(refused).toBe(asked)
    expect(metrics).toContain(`sallyport_connects_total{outcome="host_not_allowed"} ${refused}\n`)
    // A hundred for the client in each ten seconds of each worker, the counts (seven hosts, and the others together), and
    // what the gate says of itself.
    expect(lines.length).toBeLessThanOrEqual(whiles * workers * (100 + 8) + 10)
  },
  300_000,
)
