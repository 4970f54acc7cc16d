/** Table G, second half: what happens to the program as a whole. Each row has a process of its own. */
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { until, within } from '../support/deadline.ts'
import { freePort } from '../support/free-port.ts'
import { connectRequest, expectThrough, openLab } from '../support/lab.ts'
import { openProcessLab } from '../support/process-lab.ts'
import { RawClient } from '../support/raw-client.ts'
import { helloRecord, serverName } from '../tls/hello-builder.ts'

const linux = process.platform === 'linux'
const UNAVAILABLE = /^HTTP\/1\.1 503 .*audit_unavailable/
const DENIED = /^HTTP\/1\.1 403 .*host_not_allowed/
const MIB = 1024 * 1024

const totalsOf = (gate: { audit: { records: readonly { sallyport: Record<string, unknown> }[] } }): unknown =>
  gate.audit.records.at(-1)?.sallyport['totals']

test.runIf(linux)(
  'G10 128 descriptors and a flood: no exit, open tunnels go on, and it recovers',
  { timeout: 60_000 },
  async () => {
    const lab = await openProcessLab()
    const gate = await lab.gate({}, { descriptors: 128 })
    const before = gate.sockets()
    const bystander = await lab.tunnel(gate)
    const flood = await Promise.all(Array.from({ length: 400 }, () => RawClient.connect(gate.port)))
    await Promise.all(flood.map((client) => client.send('CONNECT cgr.dev:443 HTTP/1.1\r\nHos')))
    await until(() => gate.descriptors() >= 120, 'the descriptors to run out')
    for (let beat = 0; beat < 5; beat += 1) await expectThrough(bystander, Buffer.alloc(10_000, beat))
    expect(gate.alive).toBe(true)
    for (const client of flood) client.destroy()

    await until(() => gate.sockets() <= before + 2, 'the flood to be gone')
    const next = await lab.tunnel(gate)
    for (const client of [bystander, next]) {
      client.finish()
      await client.ended()
    }
    await gate.audit.waitForClosings(2)
    await until(() => gate.sockets() === before, 'every socket to be closed')
    expect(await gate.stop()).toBe(0)
    expect(totalsOf(gate)).toMatchObject({ opened: 2, closed: 2 })
  },
)

const HEAP_MIB = 56

test.runIf(linux)(
  'G11 50,000 distinct denied hosts: memory stays, and the count is exact',
  { timeout: 180_000 },
  async () => {
    const lab = await openProcessLab()
    // What a host leaves behind on the heap would not fit: twice of what is in use, and no more, is to be had. The resident
    // size alone would tell of V8's mood.
    const gate = await lab.gate({}, { nodeOptions: () => [`--max-old-space-size=${HEAP_MIB}`] })
    const bystander = await lab.tunnel(gate)
    const total = 50_000
    let sent = 0
    let warm = 0
    const visitor = async (): Promise<void> => {
      for (;;) {
        sent += 1
        if (sent > total) return
        if (sent === 15_000) warm = gate.residentBytes()
        const client = await RawClient.connect(gate.port)
        await client.send(connectRequest(`h${sent}.flood-example.com:443`))
        const { status } = await client.reply()
        client.socket.resetAndDestroy()
        if (status !== 403) throw new Error(`denied with ${status}`)
      }
    }
    await Promise.all(Array.from({ length: 32 }, visitor))
    expect(gate.residentBytes() - warm).toBeLessThan(HEAP_MIB * MIB)
    await expectThrough(bystander, Buffer.from('untouched'))
    bystander.finish()
    await bystander.ended()
    expect(await gate.stop()).toBe(0)
    expect(totalsOf(gate)).toMatchObject({ opened: 1, denied: total, failed: 0, closed: 1, dropped: 0 })
    const sequences = gate.audit.records.map(({ event }) => event.sequence)
    expect(sequences).toEqual(sequences.map((_, index) => index + 1))
    expect(Math.max(...gate.audit.lines.map((line) => line.length))).toBeLessThan(4096)
  },
)

describe('G12 client text in the record is one escaped, bounded line', () => {
  const NASTY = [
    ['CR and LF', 'a\r\nSet-Cookie: x'],
    ['a line feed', 'a\nb'],
    ['an escape sequence', '\x1b]0;owned\x07\x1b[31m'],
    ['a C1 control', '\u009b31m'],
    ['a line separator', '\u2028\u2029'],
    ['quotes and markup', `"'\`</script><img src=x onerror=alert(1)>\\`],
    ['a bidi override', '\u202egpj.exe'],
    ['8 KiB', 'x'.repeat(8192)],
  ] as const

  async function expectOneSafeLine(
    bytes: readonly (Buffer | string)[],
    established: boolean,
  ): Promise<number> {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(...bytes.slice(0, 1))
    const replied = established ? (await client.reply()).status : undefined
    for (const more of bytes.slice(1)) await client.send(more)
    const answer = (await client.rest()).toString('latin1')
    await gate.audit.waitForDecisions(1)
    expect(gate.audit.lines).toHaveLength(1)
    const [line = ''] = gate.audit.lines
    // One newline, at the end; JSON escapes do the rest, and nothing needs them.
    expect(line).toMatch(/^\{[\x20-\x7e…]*\}\n$/)
    expect(line).not.toMatch(/<script|<img|\\u00|\\u20|\\r|\\n/)
    expect(line.length).toBeLessThan(4096)
    expect(answer).not.toContain('<img')
    expect(answer).not.toContain('\x1b')
    return replied ?? Number(/^HTTP\/1\.1 ([0-9]{3}) /.exec(answer)?.[1])
  }

  test.each(NASTY)('in the target: %s', async (_what, text) => {
    const bytes = Buffer.from(`CONNECT ${text}.cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\n\r\n`)
    expect([400, 403]).toContain(await expectOneSafeLine([bytes], false))
  })

  test.each(NASTY)('in the user agent, of a denied host: %s', async (_what, text) => {
    const bytes = Buffer.from(
      `CONNECT cgr.dv:443 HTTP/1.1\r\nHost: cgr.dv:443\r\nUser-Agent: ${text}\r\n\r\n`,
    )
    expect([400, 403]).toContain(await expectOneSafeLine([bytes], false))
  })

  test.each(NASTY)('in the server name: %s', async (_what, text) => {
    const hello = helloRecord({ extensions: [serverName(Buffer.from(text))] })
    expect(await expectOneSafeLine([connectRequest('cgr.dev:443'), hello], true)).toBe(200)
  })

  test('in the application protocols, which the record of an open tunnel lists', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(connectRequest('cgr.dev:443'))
    await client.reply()
    await expectThrough(
      client,
      await clientHello('cgr.dev', { ALPNProtocols: ['h2\x1b[31m', 'a\r\nb', '</script>'] }),
    )
    await gate.audit.waitForDecisions(1)
    expect(gate.audit.lines[0]).toMatch(/^\{[\x20-\x7e…]*\}\n$/)
    expect(gate.audit.lines[0]).not.toMatch(/<\/script|\\u00|\\r|\\n/)
  })
})

describe('G13 an audit file that cannot be written', () => {
  test.runIf(existsSync('/dev/full'))('ENOSPC: nothing opens, denials go on, no busy loop', async () => {
    const lab = await openProcessLab()
    const gate = await lab.gate({ audit: { file: { path: '/dev/full' } } })
    // Its first record has failed, or will at once.
    await until(() => gate.stderr.includes('ENOSPC'), 'a word on standard error')
    expect(await lab.ask(gate)).toMatch(UNAVAILABLE)
    expect(await lab.ask(gate, 'cgr.dv:443')).toMatch(DENIED)
    const busy = cpuTicks(gate.pid)
    await new Promise((resolve) => {
      setTimeout(resolve, 1000)
    })
    // A loop would take 100 ticks in this second.
    expect(cpuTicks(gate.pid) - busy).toBeLessThan(30)
    // Said once, not for each record.
    expect(gate.stderr.match(/ENOSPC/g)).toHaveLength(1)
    expect(lab.upstream.connections).toBe(0)
    expect(await gate.stop()).toBe(1)
  })

  test.runIf(existsSync('/dev/full'))(
    'ENOSPC with onError continue: tunnels open, losses are counted',
    async () => {
      const lab = await openProcessLab()
      const gate = await lab.gate({ audit: { file: { path: '/dev/full' }, onError: 'continue' } })
      const client = await lab.tunnel(gate)
      client.finish()
      await client.ended()
      expect(await gate.stop()).toBe(1)
      // gate-started, opened, closed, draining, stopped.
      expect(gate.stderr).toContain('5 audit records could not be written')
    },
  )
})

/** CPU time so far in hundredths of a second; Linux only. */
function cpuTicks(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
  return Number(fields[11]) + Number(fields[12])
}

describe('G14 SIGTERM with an open tunnel', () => {
  test('no new tunnel, 503 for who is there already, exit by the deadline', async () => {
    const lab = await openProcessLab()
    const gate = await lab.gate({ limits: { drainTimeout: '1200ms' } })
    const tunnel = await lab.tunnel(gate)
    const late = await lab.client(gate)
    await late.send(`CONNECT ${lab.target} HTTP/1.1\r\n`)
    // Answered by the same loop: by then the late one's first line is read, too.
    expect(await lab.ask(gate, 'cgr.dv:443')).toMatch(DENIED)
    const startMs = performance.now()
    gate.child.kill('SIGTERM')
    await until(() => gate.audit.records.at(-1)?.event.action === 'gate-draining', 'the drain')
    await expect(RawClient.connect(gate.port)).rejects.toThrow(/ECONNREFUSED/)
    await late.send(`Host: ${lab.target}\r\n\r\n`)
    expect((await late.reply()).statusLine).toMatch(/^HTTP\/1\.1 503 .*draining/)
    await expectThrough(tunnel, Buffer.from('still flowing'))
    expect(await within(gate.ended, 'the end of the gate')).toBe(0)
    expect(performance.now() - startMs).toBeGreaterThanOrEqual(1190)
    await tunnel.ended()
    const [closing] = await gate.audit.waitForClosings(1)
    expect(closing?.event.reason).toBe('drain_timeout')
    expect(gate.audit.records.at(-1)?.event.action).toBe('gate-stopped')
  })

  test('a second SIGTERM does not wait', async () => {
    const lab = await openProcessLab()
    const gate = await lab.gate({ limits: { drainTimeout: '1h' } })
    await lab.tunnel(gate)
    gate.child.kill('SIGTERM')
    await until(() => gate.audit.records.at(-1)?.event.action === 'gate-draining', 'the drain')
    expect(gate.alive).toBe(true)
    expect(await gate.stop('SIGTERM')).toBe(1)
    expect(gate.audit.closings.map(({ event }) => event.reason)).toEqual(['drain_timeout'])
  })
})

test('G17 HTTPS_PROXY in our own environment is ignored: no loop', async () => {
  const lab = await openProcessLab()
  const port = await freePort()
  const self = `http://127.0.0.1:${port}`
  const gate = await lab.gate(
    { listen: `127.0.0.1:${port}` },
    {
      env: {
        HTTPS_PROXY: self,
        https_proxy: self,
        HTTP_PROXY: self,
        ALL_PROXY: self,
        NO_PROXY: '',
        // Makes Node's own HTTP clients obey the above.
        NODE_USE_ENV_PROXY: '1',
      },
    },
  )
  const client = await lab.tunnel(gate)
  client.finish()
  await client.ended()
  expect(await gate.stop()).toBe(0)
  expect(gate.audit.decisions.map(({ event }) => event.reason)).toEqual(['allowed'])
  expect(lab.upstream.connections).toBe(1)
})
