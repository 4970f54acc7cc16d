/** The trail of the real program: over workers, rotation, a kill and a restart it stays one chain, and verify says so. */
import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { describe, expect, onTestFinished, test } from 'vitest'
import { formerFiles } from '../../src/audit/former-files.ts'
import { hashLine } from '../../src/audit/hash-line.ts'
import { until } from '../support/deadline.ts'
import { freePort } from '../support/free-port.ts'
import { expectThrough } from '../support/lab.ts'
import { rsyslog, Rsyslog } from '../support/rsyslog.ts'
import { openProcessLab } from '../support/process-lab.ts'
import { run } from './run.ts'

function auditPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-trail-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'audit.ndjson')
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)

test('two workers, several files: one chain, and standard output has the same lines', async () => {
  const path = auditPath()
  const lab = await openProcessLab()
  const gate = await lab.gate({
    workers: 2,
    audit: { file: { path, maxSize: '64KiB' } },
  })
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => lab.ask(gate, `h${round}-${index}.example:443`)),
    )
  }
  expect(await gate.stop()).toBe(0)
  const files = [
    ...formerFiles(path, readdirSync(join(path, '..'))).map((name) => join(path, '..', name)),
    path,
  ]
  expect(files.length).toBeGreaterThan(2)
  const lines = files.flatMap(linesOf)
  expect(gate.audit.lines).toEqual(lines)
  const rotations = gate.audit.records.filter(({ event }) => event.action === 'audit-rotated')
  expect(rotations.map(({ sallyport }) => sallyport['former'])).toEqual(
    files.slice(0, -1).map((file) => file.slice(join(path, '..').length + 1)),
  )
  expect(rotations.map(({ sallyport }) => sallyport['head'])).toEqual(
    files.slice(0, -1).map((file) => hashLine(linesOf(file).at(-1) ?? '')),
  )
  const head = hashLine(lines.at(-1) ?? '')
  expect(await run(['audit', 'verify', ...files, '--head', head])).toMatchObject({ code: 0 })
})

test('killed in the middle of a line: the next start says what was lost, and goes on', async () => {
  const path = auditPath()
  const lab = await openProcessLab()
  const settings = { audit: { file: path } }
  const first = await lab.gate(settings)
  await lab.ask(first, 'a.example:443')
  await lab.ask(first, 'b.example:443')
  await until(() => linesOf(path).length === 3, 'three records in the file')
  await first.stop('SIGKILL')
  // As if the kill had come in the middle of the write.
  const text = readFileSync(path, 'utf8')
  const last = text.trimEnd().split('\n').at(-1) ?? ''
  truncateSync(path, Buffer.byteLength(text) - 1 - 200)

  const second = await lab.gate(settings)
  expect(await second.stop()).toBe(0)
  const [started, recovered] = second.audit.records
  expect(started?.sallyport).toMatchObject({ continues: started?.sallyport['prev'] })
  expect(recovered).toMatchObject({
    event: { action: 'audit-recovered' },
    sallyport: { sink: path, lost: 1, torn: { bytes: last.length - 200, text: last.slice(0, -200) } },
  })
  expect(linesOf(path).at(-1)).toBe(second.audit.lines.at(-1))
  const verified = await run(['audit', 'verify', path])
  expect(verified).toMatchObject({ code: 0, stderr: '' })
  expect(verified.stdout).toContain('is the last of a run that ended without gate-stopped')
})

const STAMPED = 'audit-20261124T085119.123Z.ndjson'

describe('killed, and the file rotated before the next start: the chain goes on behind the former file', () => {
  const toGzip = (path: string, former: string): void => {
    writeFileSync(former, gzipSync(readFileSync(path)))
    rmSync(path)
  }
  test.each<[string, string, (path: string, former: string) => void]>([
    [
      'renamed, with an empty one in its place',
      STAMPED,
      (path, former) => {
        renameSync(path, former)
        writeFileSync(path, '')
      },
    ],
    ['renamed, with none in its place', STAMPED, renameSync],
    [
      'killed in the first line of a new file',
      STAMPED,
      (path, former) => {
        renameSync(path, former)
        writeFileSync(path, '{"log":{"level":"in')
      },
    ],
    ['compressed', `${STAMPED}.gz`, toGzip],
    [
      'compressed by zstd',
      `${STAMPED}.zst`,
      (path, former) => {
        writeFileSync(former, zstdCompressSync(readFileSync(path)))
        rmSync(path)
      },
    ],
    [
      "logrotate's copytruncate",
      'audit.ndjson.1',
      (path, former) => {
        copyFileSync(path, former)
        truncateSync(path)
      },
    ],
    ["logrotate's dateext and compress", 'audit.ndjson-20261124.gz', toGzip],
    ["logrotate's extension", 'audit-20261124.ndjson.gz', toGzip],
  ])('%s', async (_what, name, rotate) => {
    const path = auditPath()
    const former = join(path, '..', name)
    // An older one, and one without a record, are passed over.
    writeFileSync(join(path, '..', 'audit-20251124T085119.123Z.ndjson'), '{"older":true}\n')
    writeFileSync(join(path, '..', 'audit-21001124T085119.123Z.ndjson'), '')
    const lab = await openProcessLab()
    const settings = { audit: { file: path } }
    const first = await lab.gate(settings)
    await lab.ask(first, 'a.example:443')
    await until(() => linesOf(path).length === 2, 'two records in the file')
    await first.stop('SIGKILL')
    const head = hashLine(linesOf(path).at(-1) ?? '')
    rotate(path, former)

    const second = await lab.gate(settings)
    expect(await second.stop()).toBe(0)
    expect(second.audit.records[0]?.sallyport).toMatchObject({ prev: head, continues: head })
    expect(await run(['audit', 'verify', former, path])).toMatchObject({ code: 0 })
  })

  test('a former file that cannot be read: it is said, and a new chain begins', async () => {
    const path = auditPath()
    writeFileSync(join(path, '..', `${STAMPED}.gz`), gzipSync('{"some":"line"}\n').subarray(0, 20))
    const lab = await openProcessLab()
    const gate = await lab.gate({ audit: { file: path } })
    expect(await gate.stop()).toBe(0)
    expect(gate.stderr).toMatch(
      /the chain of audit records begins anew: .*085119\.123Z\.ndjson\.gz: unexpected/,
    )
    expect(await run(['audit', 'verify', path])).toMatchObject({ code: 0 })
  })
})

describe.skipIf(rsyslog.missing)(`with a log server${rsyslog.because}`, () => {
  test('rsyslogd has the lines of standard output, to the last, when the program has ended', async () => {
    const server = await Rsyslog.start()
    const lab = await openProcessLab()
    const gate = await lab.gate({ workers: 2, audit: { syslog: `tcp://127.0.0.1:${server.port}` } })
    for (let index = 0; index < 20; index += 1) await lab.ask(gate, `h${index}.example:443`)
    const client = await lab.tunnel(gate)
    client.finish()
    expect(await client.ended()).toBe('fin')
    expect(await gate.stop()).toBe(0)
    await until(() => server.messages.length >= gate.audit.lines.length, 'all messages')
    expect(server.messages.map(({ line }) => line)).toEqual(gate.audit.lines)
    expect(server.messages[0]?.header).toMatch(/ sallyport gate-started$/)
  })
})

test('a log server that takes nothing delays neither a tunnel that is open nor a new one', async () => {
  const sockets: Socket[] = []
  const server = createServer((socket) => sockets.push(socket.pause()))
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const port = await new Promise<number>((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const bound = server.address()
      resolve(typeof bound === 'object' && bound ? bound.port : 0)
    })
  })
  const lab = await openProcessLab()
  const gate = await lab.gate({ audit: { syslog: `tcp://127.0.0.1:${port}` } })
  const client = await lab.tunnel(gate)
  for (let round = 0; round < 20; round += 1) {
    await Promise.all(
      Array.from({ length: 20 }, (_, index) => lab.ask(gate, `h${round}-${index}.example:443`)),
    )
    await expectThrough(client, Buffer.from(`round ${round}`))
  }
  await lab.tunnel(gate)
  expect(sockets).toHaveLength(1)
  expect(gate.stderr).toBe('')
})

test('a collector that is away is said once, tunnels open meanwhile, and the loss is counted at the end', async () => {
  const lab = await openProcessLab()
  const gate = await lab.gate({ audit: { otlp: `http://127.0.0.1:${await freePort()}/v1/logs` } })
  const client = await lab.tunnel(gate)
  client.finish()
  expect(await client.ended()).toBe('fin')
  expect(await gate.stop()).toBe(1)
  const { length } = gate.audit.lines
  expect(gate.stderr).toMatch(
    /cannot write audit records to http:.*: ECONNREFUSED; they wait, as many as the queue holds/,
  )
  expect(gate.stderr).toContain(`${length} audit records could not be written`)
})
