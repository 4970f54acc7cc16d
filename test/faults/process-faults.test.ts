/** What breaks around the process: the audit sink full, slow or gone, and the process itself told to end, mid pull. */
import { createHash, randomBytes } from 'node:crypto'
import { execFileSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { Fifo } from '../support/fifo.ts'
import type { GateProcess } from '../support/gate-process.ts'
import { connectRequest, expectThrough } from '../support/lab.ts'
import { openProcessLab } from '../support/process-lab.ts'
import type { RawClient } from '../support/raw-client.ts'

const linux = process.platform === 'linux'
const MIB = 1024 * 1024
const OPENED = /^HTTP\/1\.1 200 /
const UNAVAILABLE = /^HTTP\/1\.1 503 .*audit_unavailable/
const DENIED = /^HTTP\/1\.1 403 .*host_not_allowed/

const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex')

/** A file system of 64 KiB for the running test; nothing where this process may not mount. */
function smallDisk(): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-disk-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=64k', 'tmpfs', folder], { stdio: 'ignore' })
  } catch {
    return undefined
  }
  onTestFinished(() => {
    execFileSync('umount', ['-l', folder])
  })
  return folder
}

/** Whether tunnels open: the status line of a CONNECT that is asked for until it fits. */
async function until200Or503(ask: () => Promise<string>, wanted: RegExp): Promise<void> {
  const end = performance.now() + 10_000
  for (;;) {
    const line = await ask()
    if (wanted.test(line)) return
    if (performance.now() > end) throw new Error(`still ${line}`)
    await sleep(20)
  }
}

describe.runIf(linux)('an audit sink', () => {
  test('gets full: nothing opens, denials go on, an open tunnel loses nothing; with room it recovers', async (context) => {
    const lab = await openProcessLab()
    const folder = smallDisk()
    if (folder === undefined) context.skip('this process may not mount a small file system')
    const disk = folder ?? ''
    const gate = await lab.gate({ audit: { file: { path: join(disk, 'audit.ndjson') } } })
    const baseline = gate.sockets()
    const tunnel = await lab.tunnel(gate)
    writeFileSync(join(disk, 'filler'), Buffer.alloc(60 * 1024))
    // Denials fill what is left.
    await until200Or503(async () => {
      await lab.ask(gate, 'cgr.dv:443')
      return lab.ask(gate)
    }, UNAVAILABLE)
    expect(await lab.ask(gate, 'cgr.dv:443')).toMatch(DENIED)
    const bytes = randomBytes(MIB)
    await expectThrough(tunnel, bytes)
    rmSync(join(disk, 'filler'))
    await until200Or503(() => lab.ask(gate), OPENED)
    await expectThrough(tunnel, bytes)
    tunnel.finish()
    await tunnel.ended()
    await until(() => gate.sockets() === baseline, 'every socket to be closed')
    await gate.stop()
    expect(gate.audit.records.map(({ event }) => event.action)).toContain('audit-recovered')
    // One decision for each CONNECT, each under an id of its own.
    const ids = gate.audit.decisions.map(({ event }) => event.id)
    expect(new Set(ids).size).toBe(ids.length)
  })

  test('gets slow: a tunnel waits for its record, carries nothing before, and then everything', async () => {
    const lab = await openProcessLab()
    const fifo = new Fifo()
    const reader = fifo.reader()
    const gate = await lab.gate({ audit: { file: { path: fifo.path } } })
    const tunnel = await lab.tunnel(gate)
    // From now on the pipe takes nothing until it is read.
    fifo.fill()
    const waiting = await lab.client(gate)
    await waiting.send(connectRequest(lab.target))
    expect((await waiting.reply()).status).toBe(200)
    const bytes = Buffer.concat([await clientHello('cgr.dev'), randomBytes(100_000)])
    await waiting.send(bytes)
    await expectThrough(tunnel, randomBytes(MIB))
    await sleep(300)
    expect(waiting.received).toHaveLength(0)
    expect(lab.upstream.received[1] ?? Buffer.alloc(0)).toHaveLength(0)
    await Fifo.readUntil(reader, (text) => (text.match(/tunnel-opened/g) ?? []).length >= 2, 'both openings')
    expect((await waiting.bytes(bytes.length)).equals(bytes)).toBe(true)
    expect(gate.audit.decisions.map(({ event }) => event.reason)).toEqual(['allowed', 'allowed'])
  })

  test('goes away: nothing opens, an open tunnel goes on; it comes back and so do tunnels', async () => {
    const lab = await openProcessLab()
    const fifo = new Fifo()
    const reader = fifo.reader()
    const gate = await lab.gate({ audit: { file: { path: fifo.path } } })
    const baseline = gate.sockets()
    const tunnel = await lab.tunnel(gate)
    fifo.close(reader)
    await until200Or503(() => lab.ask(gate), UNAVAILABLE)
    expect(await lab.ask(gate, 'cgr.dv:443')).toMatch(DENIED)
    await expectThrough(tunnel, randomBytes(MIB))
    fifo.reader()
    await until200Or503(() => lab.ask(gate), OPENED)
    await expectThrough(tunnel, randomBytes(MIB))
    tunnel.finish()
    await tunnel.ended()
    await until(() => gate.sockets() === baseline, 'every socket to be closed')
    expect(gate.alive).toBe(true)
  })
})

interface Pull {
  readonly gate: GateProcess
  readonly lab: Awaited<ReturnType<typeof openProcessLab>>
  readonly client: RawClient
  /** Settles when the host has been told that its client is gone. */
  readonly hostEnded: Promise<unknown>
  readonly layer: Buffer
  /** Sends the rest of the layer. */
  readonly rest: () => void
}

/** A client that has the first quarter of a layer of 16 MiB; the host waits with the rest. */
async function midPull(limits: Readonly<Record<string, string>> = {}): Promise<Pull> {
  const layer = randomBytes(16 * MIB)
  const quarter = layer.length / 4
  const server = createServer({ allowHalfOpen: true })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const bound = server.address()
  const port = typeof bound === 'object' ? (bound?.port ?? 0) : 0
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve))
  const lab = await openProcessLab()
  const gate = await lab.gate({ policy: { presets: [], allow: [{ host: 'cgr.dev', port }] }, limits })
  const client = await lab.client(gate)
  await client.send(connectRequest(`cgr.dev:${port}`))
  expect((await client.reply()).status).toBe(200)
  await client.send(await clientHello('cgr.dev'))
  const host = await within(accepted, 'the connection upstream')
  host.on('error', () => undefined)
  host.resume()
  const hostEnded = new Promise((resolve) => {
    for (const event of ['end', 'close']) host.once(event, resolve)
  })
  host.write(layer.subarray(0, quarter))
  await until(() => client.received.length === quarter, 'the first quarter')
  return { gate, lab, client, hostEnded, layer, rest: () => void host.end(layer.subarray(quarter)) }
}

describe('mid pull', () => {
  test('SIGTERM: the pull is finished, equal by hash, and the gate ends well', async () => {
    const { gate, client, layer, rest } = await midPull()
    gate.child.kill('SIGTERM')
    await until(() => gate.audit.records.at(-1)?.event.action === 'gate-draining', 'the drain')
    rest()
    const received = await client.rest()
    expect(sha256(received)).toBe(sha256(layer))
    expect(await within(gate.ended, 'the end of the gate')).toBe(0)
    expect(gate.audit.records.map(({ event }) => event.action)).toEqual([
      'gate-started',
      'tunnel-opened',
      'gate-draining',
      'tunnel-closed',
      'gate-stopped',
    ])
  })

  test('SIGTERM, and a host that says no more: over at drainTimeout, and recorded', async () => {
    const { gate, client, hostEnded } = await midPull({ drainTimeout: '500ms' })
    expect(await gate.stop('SIGTERM')).toBe(0)
    await client.ended()
    await within(hostEnded, 'the host to hear of it')
    expect(gate.audit.closings.map(({ event }) => event.reason)).toEqual(['drain_timeout'])
  })

  test('SIGKILL: both sides hear of it at once, every record is whole, and the port is free again', async () => {
    const { gate, lab, client, hostEnded, layer } = await midPull()
    expect(await gate.stop('SIGKILL')).toBe('SIGKILL')
    await client.ended()
    await within(hostEnded, 'the host to hear of it')
    // What came is a part of what was sent, not something else.
    expect(layer.subarray(0, client.received.length).equals(client.received)).toBe(true)
    expect(gate.audit.records.map(({ event }) => event.action)).toEqual(['gate-started', 'tunnel-opened'])
    const again = await lab.gate({ listen: `127.0.0.1:${gate.port}` })
    expect(again.port).toBe(gate.port)
    expect(await lab.ask(again)).toMatch(OPENED)
  })
})
