/** The audit file: rotation by size and age, the chain across files and restarts, and a crash in the middle of a line. */
import {
  appendFileSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { FileOutlet, type FileOutletOptions, type Rotation } from '../../src/audit/file-outlet.ts'
import { openAuditFile } from '../../src/audit/file-tail.ts'
import { formerFiles } from '../../src/audit/former-files.ts'
import { hashLine } from '../../src/audit/hash-line.ts'
import { createJournal } from '../../src/audit/journal.ts'
import { GENESIS } from '../../src/audit/ledger.ts'
import { QueuedSink } from '../../src/audit/queued-sink.ts'
import { until, within } from '../support/deadline.ts'
import { ManualClock } from '../support/manual-clock.ts'

function auditPath(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-file-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'audit.ndjson')
}

interface Trail {
  readonly rotations: readonly Rotation[]
  readonly failures: readonly string[]
  readonly torn: unknown
  readonly clock: ManualClock
  /** Records once, and waits until it is written. */
  record(text: string): Promise<void>
  stop(): Promise<void>
}

/** A journal on the file, as the program opens it. */
function openTrail(path: string, options: Partial<FileOutletOptions> = {}): Trail {
  const clock = new ManualClock()
  const rotations: Rotation[] = []
  const failures: string[] = []
  const opened = openAuditFile(path)
  const outlet = new FileOutlet(
    {
      path,
      clock,
      fsyncMs: 1000,
      onRotated: (rotation) => rotations.push(rotation),
      onRotationFailed: (why) => failures.push(why),
      ...options,
    },
    opened,
  )
  const sink = new QueuedSink({ name: path, outlet, retryMs: 20 })
  const { head } = opened
  const journal = createJournal({
    sinks: [sink],
    clock,
    record: 'all',
    onError: 'deny',
    version: '0.0.0',
    nodeName: 'test',
    ...(head !== undefined && { head }),
  })
  const trail: Trail = {
    rotations,
    failures,
    torn: opened.torn,
    clock,
    async record(text) {
      journal.record({
        kind: 'gate',
        action: 'gate-started',
        message: text,
        policyHash: 'x',
        mode: 'enforce',
      })
      expect(await within(Promise.resolve(journal.written()), 'the record')).toBe(true)
    },
    stop: async () => {
      expect(await within(journal.ledger.flush(5000), 'the flush')).toBe(true)
    },
  }
  return trail
}

const linesOf = (path: string): string[] => readFileSync(path, 'utf8').split('\n').slice(0, -1)

/** All lines of all files, oldest first. */
function wholeTrail(path: string): string[] {
  const folder = join(path, '..')
  const former = formerFiles(path, readdirSync(folder)).map((name) => join(folder, name))
  return [...former, path].flatMap(linesOf)
}

function expectChained(lines: readonly string[]): void {
  let prev = GENESIS
  for (const line of lines) {
    expect(JSON.parse(line)).toMatchObject({ sallyport: { prev } })
    prev = hashLine(line)
  }
}

test('the chain goes on across restarts', async () => {
  const path = auditPath()
  for (const text of ['one', 'two', 'three']) {
    const trail = openTrail(path)
    await trail.record(text)
    await trail.stop()
  }
  expect(linesOf(path)).toHaveLength(3)
  expectChained(linesOf(path))
})

test('rotates by size: no file is larger, nothing is lost, each names the head of the one before', async () => {
  const path = auditPath()
  const trail = openTrail(path, { maxSizeBytes: 4096 })
  for (let i = 0; i < 60; i += 1) await trail.record(`record ${i}`)
  await trail.stop()
  expect(trail.rotations.length).toBeGreaterThan(3)
  for (const { former, head } of trail.rotations) {
    const lines = linesOf(join(path, '..', former))
    expect(Buffer.byteLength(`${lines.join('\n')}\n`)).toBeLessThanOrEqual(4096)
    expect(hashLine(lines.at(-1) ?? '')).toBe(head)
  }
  expect(wholeTrail(path)).toHaveLength(60)
  expectChained(wholeTrail(path))
})

test('a burst is cut at the size, too', async () => {
  const path = auditPath()
  const trail = openTrail(path, { maxSizeBytes: 4096 })
  await Promise.all(Array.from({ length: 200 }, (_, index) => trail.record(`record ${index}`)))
  await trail.stop()
  for (const { former } of trail.rotations) {
    expect(readFileSync(join(path, '..', former)).length).toBeLessThanOrEqual(4096)
  }
  expect(wholeTrail(path)).toHaveLength(200)
  expectChained(wholeTrail(path))
})

test('rotates by age, counted from the first record of the file, across a restart', async () => {
  const path = auditPath()
  const first = openTrail(path, { maxAgeMs: 60_000 })
  await first.record('one')
  await first.clock.advance(59_999)
  await first.record('two')
  expect(first.rotations).toHaveLength(0)
  await first.stop()
  const second = openTrail(path, { maxAgeMs: 60_000 })
  await second.clock.advance(60_000)
  await second.record('three')
  await second.stop()
  expect(second.rotations).toHaveLength(1)
  expect(linesOf(path)).toHaveLength(1)
  expectChained(wholeTrail(path))
})

test('keeps as many former files as it is told, and says which it deleted', async () => {
  const path = auditPath()
  writeFileSync(join(path, '..', 'audit-notes.ndjson'), 'of somebody else')
  const trail = openTrail(path, { maxSizeBytes: 500, keep: 2 })
  for (let i = 0; i < 10; i += 1) await trail.record(`record ${i} ${'.'.repeat(100)}`)
  await trail.stop()
  const left = formerFiles(path, readdirSync(join(path, '..')))
  expect(left).toEqual(trail.rotations.slice(-2).map(({ former }) => former))
  expect(trail.rotations.flatMap(({ removed }) => removed)).toEqual(
    trail.rotations.slice(0, -2).map(({ former }) => former),
  )
  expect(existsSync(join(path, '..', 'audit-notes.ndjson'))).toBe(true)
})

test('a clock that is set back does not turn the order of the files', async () => {
  const path = auditPath()
  writeFileSync(join(path, '..', 'audit-20991231T235959.999Z.ndjson'), '')
  const trail = openTrail(path, { maxSizeBytes: 500, keep: 2 })
  await trail.record('one'.padEnd(400))
  await trail.record('two')
  await trail.stop()
  expect(trail.rotations[0]?.former).toBe('audit-21000101T000000.000Z.ndjson')
})

test.each([
  ['half a record', 'half'],
  ['nothing but half a record', 'only half'],
  ['zeros after a power cut', 'zeros'],
])('a crash leaves %s: taken out, told, and the chain goes on', async (_what, kind) => {
  const path = auditPath()
  const before = openTrail(path)
  await before.record('one')
  await before.record('two')
  await before.stop()
  const whole = readFileSync(path)
  const [first = ''] = linesOf(path)
  if (kind === 'zeros') appendFileSync(path, Buffer.alloc(300))
  else truncateSync(path, kind === 'half' ? whole.length - 40 : first.length - 40)
  const after = openTrail(path)
  const bytes =
    kind === 'zeros' ? 300 : kind === 'half' ? whole.length - first.length - 1 - 40 : first.length - 40
  const text = { half: /^\{/, 'only half': /^\{/, zeros: /^\0{300}$/ }[kind] ?? /-/
  expect(after.torn).toEqual({ bytes, text: expect.stringMatching(text) })
  await after.record('three')
  await after.stop()
  expect(linesOf(path)).toHaveLength({ half: 2, 'only half': 1, zeros: 3 }[kind] ?? 0)
  expectChained(linesOf(path))
})

test('a record that lacks nothing but its newline is kept', async () => {
  const path = auditPath()
  const before = openTrail(path)
  await before.record('one')
  await before.stop()
  truncateSync(path, readFileSync(path).length - 1)
  const after = openTrail(path)
  expect(after.torn).toBeUndefined()
  await after.record('two')
  await after.stop()
  expect(linesOf(path)).toHaveLength(2)
  expectChained(linesOf(path))
})

test.each([1, 65_534, 65_535, 65_536, 65_537, 200_000])(
  'finds the end of a last line of %i bytes',
  (length) => {
    const path = auditPath()
    const last = '.'.repeat(length)
    for (const text of [`${last}\n`, `first\n${last}\n`, `${'-'.repeat(70_000)}\n${last}\n`]) {
      writeFileSync(path, text)
      expect(openAuditFile(path)).toMatchObject({ size: text.length, head: hashLine(last) })
      writeFileSync(path, `first\n${last}`)
      expect(openAuditFile(path)).toMatchObject({ head: hashLine('first'), torn: { bytes: length } })
    }
  },
)

test('a file that is no audit trail is left as it is', () => {
  const path = auditPath()
  const bytes = Buffer.alloc(3 * 1024 * 1024, 1)
  writeFileSync(path, bytes)
  expect(() => openAuditFile(path)).toThrow('too long to be an audit record')
  expect(readFileSync(path).equals(bytes)).toBe(true)
})

test('a file that was moved away or deleted is noticed, and begun anew', async () => {
  const path = auditPath()
  const trail = openTrail(path)
  await trail.record('one')
  renameSync(path, `${path}.1`)
  await trail.clock.advance(1000)
  // It looks by way of the thread pool.
  let count = 1
  await until(() => {
    count += 1
    void trail.record(`record ${count}`)
    void trail.clock.advance(1000)
    return existsSync(path)
  }, 'the new file')
  await trail.stop()
  expectChained([...linesOf(`${path}.1`), ...linesOf(path)])
  expect(linesOf(`${path}.1`).length + linesOf(path).length).toBe(count)
})

test.each([false, true])(
  'a rotation of its own finds the file moved away (another in its place: %s), and goes on in a new one',
  async (another) => {
    const path = auditPath()
    const trail = openTrail(path, { maxSizeBytes: 2000 })
    await trail.record('one')
    renameSync(path, `${path}.1`)
    if (another) writeFileSync(path, '')
    // None of the waits in between lets it notice by itself: the clock stands still.
    for (let index = 0; index < 20; index += 1) await trail.record(`record ${index}`)
    await trail.stop()
    expect(trail.failures).toEqual([])
    const lines = [...linesOf(`${path}.1`), ...wholeTrail(path)]
    expect(lines).toHaveLength(21)
    expectChained(lines)
    expect(trail.rotations.length).toBeGreaterThan(0)
    for (const { former } of trail.rotations) expect(linesOf(join(path, '..', former))).not.toEqual([])
  },
)

test('where no new file can be begun, the old one grows on, and it is said once a minute', async () => {
  const path = auditPath()
  const folder = join(path, '..')
  const trail = openTrail(path, { maxSizeBytes: 1000 })
  await trail.record('one')
  renameSync(folder, `${folder}-moved`)
  onTestFinished(() => rmSync(`${folder}-moved`, { recursive: true, force: true }))
  for (let i = 0; i < 10; i += 1) await trail.record(`record ${i}`)
  expect(trail.failures).toEqual(['ENOENT'])
  expect(linesOf(join(`${folder}-moved`, 'audit.ndjson'))).toHaveLength(11)
  renameSync(`${folder}-moved`, folder)
  await trail.clock.advance(60_000)
  await trail.record('more')
  await trail.stop()
  expect(trail.rotations).toHaveLength(1)
  expectChained(wholeTrail(path))
})

test('with fsync 0s a record counts as written when it is on the disk', async () => {
  const path = auditPath()
  const trail = openTrail(path, { fsyncMs: 0, maxSizeBytes: 2000 })
  await Promise.all(Array.from({ length: 50 }, (_, index) => trail.record(`record ${index}`)))
  await trail.stop()
  expect(wholeTrail(path)).toHaveLength(50)
  expectChained(wholeTrail(path))
})
