/** `workers: 2`, with real processes: shared load, one trail, crashes. On both wires. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hashLine } from '../../src/audit/hash-line.ts'
import { GENESIS } from '../../src/audit/ledger.ts'
import { run } from '../cli/run.ts'
import { DEADLINE_MS, until } from '../support/deadline.ts'
import { EchoServer } from '../support/echo-server.ts'
import { Fifo } from '../support/fifo.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'
import { serve, type Line, type Served } from '../support/served.ts'

const WIRES = process.platform === 'linux' ? (['portable', 'kernel'] as const) : (['portable'] as const)

async function startOrigin(): Promise<EchoServer> {
  const origin = await EchoServer.start()
  onTestFinished(() => origin.close())
  return origin
}

/** A gate with two workers that allows cgr.dev on the origin's port. */
function configFor(origin: EchoServer, wire: string): Record<string, unknown> {
  return {
    workers: 2,
    wire,
    policy: { presets: [], allow: [{ host: 'cgr.dev', port: origin.port }], sni: 'off' },
    dns: { hosts: { 'cgr.dev': ['127.0.0.1'] } },
    addresses: { allow: ['127.0.0.0/8'] },
  }
}

async function openTunnel(gate: Served, origin: EchoServer): Promise<RawClient> {
  const client = await RawClient.connect(gate.port)
  onTestFinished(() => client.destroy())
  await client.send(connectRequest(`cgr.dev:${origin.port}`))
  expect((await client.reply()).status).toBe(200)
  return client
}

async function echoes(client: RawClient, text: string): Promise<boolean> {
  await client.send(text)
  return (await client.bytes(text.length)).toString() === text
}

/** Process ids of the workers, from the kernel. */
function workersOf(gate: Served): readonly number[] {
  const { pid } = gate.child
  return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8')
    .trim()
    .split(' ')
    .filter(Boolean)
    .map(Number)
}

function expectWhole(lines: readonly string[]): void {
  let head = GENESIS
  lines.forEach((line, index) => {
    const record: Line = JSON.parse(line)
    expect(record.event.sequence).toBe(index + 1)
    expect(record.sallyport['prev']).toBe(head)
    head = hashLine(line)
  })
}

const of = (records: readonly Line[], action: string): readonly Line[] =>
  records.filter((record) => record.event.action === action)

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

describe.skipIf(process.platform !== 'linux').each(WIRES)('two workers on the %s wire', (wire) => {
  test('share the connections; when one is killed its tunnels are on record and it is replaced', async () => {
    const origin = await startOrigin()
    const gate = await serve(configFor(origin, wire))
    expect(gate.records()[0]?.sallyport).toMatchObject({ workers: 2, wire })
    const tunnels = await Promise.all(Array.from({ length: 60 }, () => openTunnel(gate, origin)))
    for (const tunnel of tunnels) expect(await echoes(tunnel, 'before')).toBe(true)
    await until(() => of(gate.records(), 'tunnel-opened').length === 60, 'every opening on record')

    const [first = 0] = workersOf(gate)
    process.kill(first, 'SIGKILL')
    await until(() => of(gate.records(), 'worker-replaced').length === 1, 'the replacement')
    const [lost] = of(gate.records(), 'worker-lost')
    const cut = Number(lost?.sallyport['tunnels'])
    // The kernel spreads them by a hash; that one worker gets all or none of 60 does not happen in a lifetime.
    expect(cut).toBeGreaterThan(0)
    expect(cut).toBeLessThan(60)
    expect(lost?.sallyport).toMatchObject({ pid: first, ended: 'SIGKILL' })
    const closings = of(gate.records(), 'tunnel-closed')
    expect(closings).toHaveLength(cut)
    expect(new Set(closings.map(({ event }) => event.reason))).toEqual(new Set(['worker_lost']))

    // Whose closing is on record is cut, and nobody else.
    const cutPorts = new Set(closings.map(({ source }) => source?.port))
    const isCut = (tunnel: RawClient): boolean => cutPorts.has(tunnel.socket.localPort)
    for (const tunnel of tunnels.filter(isCut)) expect(await tunnel.ended()).toMatch(/fin|reset/)
    for (const tunnel of tunnels.filter((tunnel) => !isCut(tunnel)))
      expect(await echoes(tunnel, 'after')).toBe(true)
    expect(workersOf(gate)).toHaveLength(2)
    const more = await Promise.all(Array.from({ length: 20 }, () => openTunnel(gate, origin)))
    for (const tunnel of more) expect(await echoes(tunnel, 'more')).toBe(true)

    for (const tunnel of [...tunnels, ...more]) tunnel.destroy()
    await until(() => of(gate.records(), 'tunnel-closed').length === 80, 'every closing on record')
    gate.child.kill('SIGTERM')
    expect(await gate.end()).toBe(0)
    const records = gate.records()
    const ids = (action: string): ReadonlySet<unknown> =>
      new Set(of(records, action).map(({ event }) => event.id))
    expect(ids('tunnel-opened').size).toBe(80)
    expect(ids('tunnel-closed')).toEqual(ids('tunnel-opened'))
    expect(of(records, 'tunnel-closed')).toHaveLength(80)
    expect(records.at(-1)?.sallyport['totals']).toEqual({
      opened: 80,
      forwarded: 0,
      closed: 80,
      denied: 0,
      failed: 0,
      dropped: 0,
    })
    expectWhole(gate.lines())
  })

  test('all killed at once: the gate waits, replaces them and goes on', async () => {
    const origin = await startOrigin()
    const gate = await serve(configFor(origin, wire))
    for (const pid of workersOf(gate)) process.kill(pid, 'SIGKILL')
    await until(() => of(gate.records(), 'worker-replaced').length === 2, 'both replacements')
    const tunnel = await openTunnel(gate, origin)
    expect(await echoes(tunnel, 'after')).toBe(true)
    tunnel.destroy()
    gate.child.kill('SIGTERM')
    expect(await gate.end()).toBe(0)
    expectWhole(gate.lines())
  })

  test('end with the supervisor: nothing passes unrecorded', async () => {
    expect.hasAssertions()
    const origin = await startOrigin()
    const gate = await serve(configFor(origin, wire))
    const tunnel = await openTunnel(gate, origin)
    gate.child.kill('SIGKILL')
    await tunnel.ended()
    const end = performance.now() + DEADLINE_MS
    while (await listens(gate.port)) expect(performance.now()).toBeLessThan(end)
  })

  test('let open tunnels finish on SIGTERM, and close them on the second', async () => {
    const origin = await startOrigin()
    const gate = await serve(configFor(origin, wire))
    const tunnels = await Promise.all(Array.from({ length: 8 }, () => openTunnel(gate, origin)))
    gate.child.kill('SIGTERM')
    await until(() => of(gate.records(), 'gate-draining').length === 1, 'the drain')
    for (const tunnel of tunnels) expect(await echoes(tunnel, 'during the drain')).toBe(true)
    gate.child.kill('SIGTERM')
    for (const tunnel of tunnels) await tunnel.ended()
    expect(await gate.end()).toBe(1)
    const reasons = of(gate.records(), 'tunnel-closed').map(({ event }) => event.reason)
    expect(reasons).toEqual(Array.from({ length: 8 }, () => 'drain_timeout'))
    expect(of(gate.records(), 'worker-lost')).toEqual([])
    expectWhole(gate.lines())
  })
})

describe.skipIf(process.platform !== 'linux')('workers', () => {
  test('open nothing while records cannot be written, and again when they can', async () => {
    const origin = await startOrigin()
    const fifo = new Fifo()
    const stdout = fifo.writer()
    const reader = fifo.reader()
    const gate = await serve(configFor(origin, 'auto'), { stdout })
    await openTunnel(gate, origin)

    fifo.close(reader)
    const ask = async (): Promise<number> => {
      const client = await RawClient.connect(gate.port)
      try {
        await client.send(connectRequest(`cgr.dev:${origin.port}`))
        return (await client.reply()).status
      } finally {
        client.destroy()
      }
    }
    // Each worker hears of it with the next record; then nothing opens, not even once more.
    const end = performance.now() + DEADLINE_MS
    for (let refusals = 0; refusals < 20; refusals = (await ask()) === 503 ? refusals + 1 : 0) {
      expect(performance.now()).toBeLessThan(end)
    }
    expect(new Set(of(gate.records(), 'tunnel-denied').map(({ event }) => event.reason))).toEqual(
      new Set(['audit_unavailable']),
    )

    fifo.reader()
    for (let opened = 0; opened < 20; opened = (await ask()) === 200 ? opened + 1 : 0) {
      expect(performance.now()).toBeLessThan(end)
    }
    expect(of(gate.records(), 'audit-recovered')).toHaveLength(1)
  })

  test('port in use: exit code 2, and nothing is left listening', async () => {
    const origin = await startOrigin()
    const file = join(mkdtempSync(join(tmpdir(), 'sallyport-workers-')), 'config.yaml')
    onTestFinished(() => rmSync(dirname(file), { recursive: true }))
    writeFileSync(file, JSON.stringify({ ...configFor(origin, 'auto'), listen: `127.0.0.1:${origin.port}` }))
    const { code, stderr } = await run(['serve', '--config', file])
    expect(code).toBe(2)
    expect(stderr).toContain(`cannot listen on 127.0.0.1:${origin.port}: the port is in use`)
  })

  test('are not for the command line', async () => {
    const { code, stderr } = await run(['worker'])
    expect(code).toBe(2)
    expect(stderr).toBe('sallyport: `worker` is started by `serve` with `workers: N`, not by hand\n')
  })
})
