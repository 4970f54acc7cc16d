/** Table G: 50,000 denied hosts that nobody has asked for before. Counts stay exact; everything else stays small. */
import { expect, test } from 'vitest'
import { openLab, connectRequest, expectServed } from '../support/lab.ts'
import { openProcessLab } from '../support/process-lab.ts'
import { RawClient } from '../support/raw-client.ts'

const FLOOD = 50_000
const AT_ONCE = 32
/** On Linux the whole of 127/8 is this machine. */
const CLIENTS = process.platform === 'linux' ? 2000 : 1
const MIB = 1024 * 1024

/** There once anything was folded. */
const FOLDED = 'sallyport_audit_records_total{action="denials-folded"}'

/** Folded records name no port of a client, so they are read loosely. */
interface Told {
  readonly event: { readonly action: string }
  readonly sallyport: { readonly folded?: { readonly count: number }; readonly totals?: object }
}

/** Each from one of so many addresses; all are refused. */
async function flood(port: number, onEach: (sent: number) => void = () => undefined): Promise<void> {
  let sent = 0
  const visitor = async (): Promise<void> => {
    while (sent < FLOOD) {
      sent += 1
      onEach(sent)
      const index = sent % CLIENTS
      const localAddress = `127.1.${Math.floor(index / 250)}.${(index % 250) + 1}`
      const client = await RawClient.connect(port, CLIENTS > 1 ? { localAddress } : {})
      await client.send(connectRequest(`h${sent}.flood-example.com:443`))
      const { status } = await client.reply()
      client.socket.resetAndDestroy()
      if (status !== 403) throw new Error(`denied with ${status}`)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, visitor))
}

test(
  'G11 what folding remembers is bounded, and single records and counts add up',
  { timeout: 180_000 },
  async () => {
    const lab = await openLab()
    const gate = await lab.gate({ audit: { fold: { above: 10, within: '5m' } } })
    let most = 0
    await flood(gate.port, () => {
      most = Math.max(most, gate.parts.journal.remembered)
    })
    await expectServed(lab, gate)
    expect(gate.parts.journal.totals).toMatchObject({ denied: FLOOD, failed: 0, opened: 1 })
    // 4096 kinds, 1024 clients; and for each of those that are counted coarsely, and for the reason, one more.
    expect(most).toBeLessThanOrEqual(4096 + 1024 + 1025)
    expect(gate.parts.tunnels.ofClient('127.1.0.1')).toBe(0)
    // It remembers no longer than it has to.
    gate.parts.journal.flushFolds()
    expect(gate.parts.journal.remembered).toBe(0)
    const records = gate.audit.lines.map((line): Told => JSON.parse(line))
    const singles = records.filter(({ event }) => event.action === 'tunnel-denied').length
    const counted = records.reduce((sum, { sallyport }) => sum + (sallyport.folded?.count ?? 0), 0)
    expect(singles + counted).toBe(FLOOD)
    expect(singles).toBeLessThanOrEqual(4096)
  },
)

test(
  'G11 the metrics have as many series after it as before, and memory stays',
  { timeout: 180_000 },
  async () => {
    const lab = await openProcessLab()
    const gate = await lab.gate(
      { admin: { listen: '127.0.0.1:0' }, audit: { fold: { above: 10, within: '2s' } } },
      // Small, so that growth is what is kept and not what waits to be collected.
      { nodeOptions: () => ['--max-semi-space-size=2'] },
    )
    const address = String(gate.audit.records[0]?.sallyport['admin'])
    const names = async (): Promise<readonly string[]> => {
      const text = await (await fetch(`http://${address}/metrics`)).text()
      return text.split('\n').flatMap((line) => /^([^#\s][^\s]*) /.exec(line)?.[1] ?? [])
    }
    await lab.ask(gate, 'first.flood-example.com:443')
    const before = await names()
    expect(before.length).toBeGreaterThan(20)
    let warm = 0
    await flood(gate.port, (sent) => {
      if (sent === 15_000) warm = gate.residentBytes()
    })
    expect(gate.residentBytes() - warm).toBeLessThan(48 * MIB)
    const after = await names()
    expect(after.filter((name) => !before.includes(name) && name !== FOLDED)).toEqual([])
    expect(await gate.stop()).toBe(0)
    const last: Told = JSON.parse(gate.audit.lines.at(-1) ?? '')
    expect(last.sallyport.totals).toMatchObject({ denied: FLOOD + 1, dropped: 0 })
  },
)
