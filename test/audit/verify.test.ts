/** Every way to tamper with a trail is found, and the first bad record named; a trail that says what it lost is whole. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, onTestFinished, test } from 'vitest'
import { hashLine } from '../../src/audit/hash-line.ts'
import { createJournal } from '../../src/audit/journal.ts'
import { GENESIS } from '../../src/audit/ledger.ts'
import { MAX_LINE_BYTES, readLines } from '../../src/audit/read-lines.ts'
import type { AuditEvent } from '../../src/audit/record.ts'
import { ChainVerifier, type Verdict, type VerifyOptions } from '../../src/audit/verify.ts'
import { AuditLog } from '../support/audit-log.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { PROGRAM, run } from '../cli/run.ts'

function gateEvent(action: Extract<AuditEvent, { kind: 'gate' }>['action'], facts = {}): AuditEvent {
  return { kind: 'gate', action, message: action, policyHash: 'x', mode: 'enforce', facts }
}

/** The lines of one run of a gate: `gate-started`, records, `gate-stopped`. */
function runLines(count: number, head?: string, nodeName = 'test'): readonly string[] {
  const log = new AuditLog()
  const journal = createJournal({
    sinks: [log],
    clock: new ManualClock(),
    record: 'all',
    onError: 'continue',
    version: '0.0.0',
    nodeName,
    ...(head !== undefined && { head }),
  })
  for (let i = 0; i < count; i += 1) {
    journal.record(gateEvent(i === 0 ? 'gate-started' : i === count - 1 ? 'gate-stopped' : 'worker-replaced'))
  }
  return log.lines.map((line) => line.trimEnd())
}

function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-verify-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

function verifyLines(lines: readonly string[], head?: string, options: VerifyOptions = {}): Verdict {
  const verifier = new ChainVerifier({ head, ...options })
  for (const [index, line] of lines.entries()) verifier.line(Buffer.from(line), 'a', index + 1, true)
  return verifier.end()
}

const edited = (line: string): string => line.replace('"message":"', '"message":"not ')
const WHOLE = runLines(20)
const headOf = (lines: readonly string[]): string => hashLine(lines.at(-1) ?? '')

test('an untouched trail is whole, over restarts and files', () => {
  const second = runLines(5, headOf(WHOLE))
  const verdict = verifyLines([...WHOLE, ...second], headOf(second))
  expect(verdict).toMatchObject({ records: 25, findings: 0, lost: 0, head: headOf(second), notes: [] })
  expect(verdict.anchor).toMatchObject({ line: 25 })
})

describe('tampering', () => {
  test.each<[string, (lines: string[]) => void, string, number]>([
    ['a record edited', (lines) => lines.splice(6, 1, edited(lines[6] ?? '')), 'changed', 7],
    ['the first record edited', (lines) => lines.splice(0, 1, edited(lines[0] ?? '')), 'changed', 1],
    [
      'the hash in a record edited',
      (lines) =>
        lines.splice(6, 1, (lines[6] ?? '').replace(/"prev":"sha256:[0-9a-f]{4}/, '"prev":"sha256:ffff')),
      'changed',
      7,
    ],
    [
      'the number of a record edited',
      (lines) => lines.splice(6, 1, (lines[6] ?? '').replace('"sequence":7}', '"sequence":9}')),
      'changed',
      7,
    ],
    ['a record deleted', (lines) => lines.splice(6, 1), 'missing', 7],
    ['many records deleted', (lines) => lines.splice(6, 5), 'missing', 7],
    ['two records swapped', (lines) => lines.splice(6, 2, lines[7] ?? '', lines[6] ?? ''), 'moved', 7],
    ['a record moved down', (lines) => lines.splice(12, 0, ...lines.splice(6, 1)), 'moved', 7],
    ['a record moved up', (lines) => lines.splice(6, 0, ...lines.splice(12, 1)), 'moved', 7],
    [
      'a record put in that fits the one before',
      (lines) => lines.splice(6, 0, edited(lines[6] ?? '')),
      'inserted',
      7,
    ],
    ['a foreign line put in', (lines) => lines.splice(6, 0, 'hello'), 'no-record', 7],
    ['an empty line put in', (lines) => lines.splice(6, 0, ''), 'no-record', 7],
    ['a record of another kind put in', (lines) => lines.splice(6, 0, '{"event":{}}'), 'no-record', 7],
  ])('%s', (_what, tamper, kind, line) => {
    const lines = [...WHOLE]
    tamper(lines)
    const { first } = verifyLines(lines, headOf(WHOLE))
    expect(first).toMatchObject({ kind, line })
  })

  test('a later one does not hide the first', () => {
    const lines = [...WHOLE]
    lines.splice(15, 1, edited(lines[15] ?? ''))
    lines.splice(4, 1)
    expect(verifyLines(lines)).toMatchObject({ findings: 2, first: { kind: 'missing', line: 5 } })
  })

  test('a run taken out between two others', () => {
    const second = runLines(5, headOf(WHOLE))
    const third = runLines(5, headOf(second))
    expect(verifyLines([...WHOLE, ...third]).first).toMatchObject({ kind: 'missing', line: 21 })
  })

  test('the end cut off shows against a head that was noted; without one it is a note', () => {
    const cut = WHOLE.slice(0, 12)
    expect(verifyLines(cut, headOf(WHOLE)).first).toMatchObject({ kind: 'head-not-found', line: 12 })
    expect(verifyLines(cut)).toMatchObject({
      findings: 0,
      notes: [expect.stringMatching(/does not end with gate-stopped/)],
    })
  })

  test('the last record edited, or all written anew, shows against a head only', () => {
    const lines = [...WHOLE.slice(0, -1), edited(WHOLE.at(-1) ?? '')]
    expect(verifyLines(lines).findings).toBe(0)
    expect(verifyLines(lines, headOf(WHOLE)).first?.kind).toBe('head-not-found')
    expect(verifyLines(runLines(21), headOf(WHOLE)).first?.kind).toBe('head-not-found')
  })

  test('no edit of one byte anywhere goes unseen', () => {
    const text = WHOLE.join('\n')
    fc.assert(
      fc.property(fc.nat(text.length - 1), fc.integer({ min: 32, max: 126 }), (index, code) => {
        const letter = String.fromCharCode(code)
        fc.pre(text[index] !== letter)
        const lines = `${text.slice(0, index)}${letter}${text.slice(index + 1)}`.split('\n')
        expect(verifyLines(lines, headOf(WHOLE)).findings).toBeGreaterThan(0)
      }),
      { numRuns: 500 },
    )
  })
})

describe('what is no tampering', () => {
  test('a head that was noted earlier anchors what stands before it', () => {
    const verdict = verifyLines(WHOLE, hashLine(WHOLE[9] ?? ''))
    expect(verdict).toMatchObject({ findings: 0, anchor: { line: 10 } })
  })

  test('a trail whose older files are gone begins in the middle', () => {
    expect(verifyLines(WHOLE.slice(5))).toMatchObject({
      findings: 0,
      begin: { sequence: 6, prev: hashLine(WHOLE[4] ?? '') },
    })
  })

  test('where it begins can be asked for: a start that was cut off shows', () => {
    const second = runLines(5, headOf(WHOLE))
    const whole = [...WHOLE, ...second]
    expect(verifyLines(whole, headOf(second), { from: GENESIS }).findings).toBe(0)
    expect(verifyLines(second, headOf(second), { from: headOf(WHOLE) }).findings).toBe(0)
    for (const from of [GENESIS, hashLine(WHOLE[3] ?? '')])
      expect(verifyLines(second, headOf(second), { from }).first).toMatchObject({
        kind: 'begins-later',
        line: 1,
      })
  })

  /** Seven records are missing behind the fifth, and `audit-recovered` tells of them. */
  const lossy = (sink: string): string[] => {
    const lines: string[] = []
    let losing = false
    const log = new AuditLog()
    const journal = createJournal({
      sinks: [Object.assign(log, { write: (line: string) => losing || lines.push(line.trimEnd()) })],
      clock: new ManualClock(),
      record: 'all',
      onError: 'continue',
      version: '0.0.0',
      nodeName: 'test',
    })
    const write = (count: number): void => {
      for (let i = 0; i < count; i += 1) journal.record(gateEvent('worker-replaced'))
    }
    write(5)
    const after = journal.ledger.head
    losing = true
    write(7)
    losing = false
    write(2)
    journal.record(gateEvent('audit-recovered', { sink, lost: 7, after }))
    journal.record(gateEvent('gate-stopped'))
    return lines
  }

  test('records that the file lost, and says so', () => {
    const lines = lossy('/var/log/audit.ndjson')
    expect(verifyLines(lines)).toMatchObject({
      findings: 0,
      lost: 7,
      notes: [expect.stringMatching(/7 records were lost before a:6/)],
    })
    // The same hole with one record more taken out of it is no longer what the trail says.
    lines.splice(4, 1)
    expect(verifyLines(lines).first).toMatchObject({ kind: 'missing', line: 5 })
  })

  test.each(['standard output', 'tcp://10.0.0.5:514', 'https://otel.example.com/v1/logs'])(
    'what %s lost is missing from the file, unless this is its trail',
    (sink) => {
      const lines = lossy(sink)
      expect(verifyLines(lines)).toMatchObject({
        findings: 1,
        lost: 0,
        first: { kind: 'missing', line: 6, message: expect.stringContaining(`--sink '${sink}'`) },
      })
      expect(verifyLines(lines, undefined, { sink })).toMatchObject({ findings: 0, lost: 7 })
      expect(verifyLines(lossy('/a'), undefined, { sink }).first).toMatchObject({ kind: 'missing' })
    },
  )

  test('what was sent to a syslog server twice', () => {
    const resent = [...WHOLE.slice(0, 9), ...WHOLE.slice(3, 9), ...WHOLE.slice(3, 12), ...WHOLE.slice(12)]
    expect(verifyLines(resent, headOf(WHOLE))).toMatchObject({
      records: 20,
      findings: 0,
      notes: [expect.stringMatching(/^12 lines are there twice/)],
    })
  })

  test('only as much is taken for sent twice as is sent again', () => {
    const many = runLines(6000)
    const early = many[2] ?? ''
    expect(verifyLines([...many, early]).first).toMatchObject({ line: 6001 })
  })

  test('a process that was killed, and its successor', () => {
    const killed = WHOLE.slice(0, 9)
    const verdict = verifyLines([...killed, ...runLines(3, headOf(killed))])
    expect(verdict).toMatchObject({
      findings: 0,
      notes: [expect.stringMatching(/a:9 \(number 9\) is the last of a run that ended without/)],
    })
  })

  test('two chains one after the other, as restarts of a container without a file leave them', () => {
    const verdict = verifyLines([...WHOLE, ...runLines(4, GENESIS, 'next')])
    expect(verdict).toMatchObject({ findings: 0, notes: ['a:21 (number 1) begins a new chain'] })
    expect(verifyLines([...WHOLE.slice(0, -1), ...runLines(4, GENESIS, 'next')]).first).toMatchObject({
      kind: 'missing',
      line: 20,
    })
  })
})

describe('the lines of a file', () => {
  const read = async (path: string) => {
    const lines: { bytes: string | undefined; ended: boolean }[] = []
    for await (const some of readLines(path)) {
      for (const { bytes, ended } of some) lines.push({ bytes: bytes?.toString(), ended })
    }
    return lines
  }

  test('are the same plain and compressed, in one member or several', async () => {
    const path = join(folderForTest(), 'a')
    const texts = Array.from({ length: 3000 }, (_, index) => `${index} ${'é'.repeat(index % 700)}`)
    const text = `${texts.join('\n')}\nrest`
    const expected = [...texts.map((bytes) => ({ bytes, ended: true })), { bytes: 'rest', ended: false }]
    for (const bytes of [
      text,
      gzipSync(text),
      Buffer.concat([gzipSync(text.slice(0, 1000)), gzipSync(text.slice(1000))]),
    ]) {
      writeFileSync(path, bytes)
      expect(await read(path)).toEqual(expected)
    }
  })

  test('that are too long come without their bytes', async () => {
    const path = join(folderForTest(), 'a')
    const long = 'x'.repeat(3 * MAX_LINE_BYTES)
    writeFileSync(path, `a\n${long}\nb\n${long}`)
    expect(await read(path)).toEqual([
      { bytes: 'a', ended: true },
      { bytes: undefined, ended: true },
      { bytes: 'b', ended: true },
      { bytes: undefined, ended: false },
    ])
  })
})

describe('sallyport audit verify', () => {
  test('says that a trail is whole, and its head, also from gzip and over several files', async () => {
    const folder = folderForTest()
    const [one, two] = [join(folder, 'one.gz'), join(folder, 'two')]
    writeFileSync(one, gzipSync(`${WHOLE.slice(0, 12).join('\n')}\n`))
    writeFileSync(two, `${WHOLE.slice(12).join('\n')}\n`)
    expect(await run(['audit', 'verify', one, two, '--head', headOf(WHOLE)])).toEqual({
      code: 0,
      stdout: `whole: 20 records in 2 files\nthe head that was asked for is at ${two}:8 (number 20)\nhead: ${headOf(WHOLE)}\n`,
      stderr: '',
    })
  })

  test('says behind what a trail begins, and makes it a finding with --from', async () => {
    const path = join(folderForTest(), 'audit.ndjson')
    writeFileSync(path, `${runLines(3, headOf(WHOLE)).join('\n')}\n`)
    const seen = await run(['audit', 'verify', path])
    expect(seen.code).toBe(0)
    expect(seen.stdout).toContain(`begins behind ${headOf(WHOLE)}, at number 1; --from`)
    expect(await run(['audit', 'verify', path, '--from', headOf(WHOLE)])).toMatchObject({ code: 0 })
    const asked = await run(['audit', 'verify', path, '--from', 'start'])
    expect(asked.code).toBe(1)
    expect(asked.stdout).toContain(':1 (number 1) is the first record, and continues from')
  })

  test('names the first bad record, with exit code 1', async () => {
    const path = join(folderForTest(), 'audit.ndjson')
    const lines = [...WHOLE]
    lines.splice(6, 1, edited(lines[6] ?? ''))
    writeFileSync(path, `${lines.join('\n')}\n`)
    const { code, stdout } = await run(['audit', 'verify', path])
    expect(code).toBe(1)
    expect(stdout).toContain(
      `${path}:7 (number 7) was changed: its neighbours say another hash\nbroken: 20 records in 1 file\n`,
    )
    const json = await run(['audit', 'verify', path, '--json'])
    expect(json.code).toBe(1)
    expect(JSON.parse(json.stdout)).toMatchObject({
      ok: false,
      records: 20,
      findings: 1,
      first: { file: path, line: 7, sequence: 7, kind: 'changed' },
    })
  })

  test('half a last line, half a gzip file, and no record at all are findings', async () => {
    const path = join(folderForTest(), 'audit.ndjson')
    writeFileSync(path, WHOLE.join('\n').slice(0, -10))
    expect(await run(['audit', 'verify', path])).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/:20 is cut off/),
    })
    const packed = gzipSync(WHOLE.join('\n'))
    writeFileSync(path, packed.subarray(0, packed.length - 20))
    expect(await run(['audit', 'verify', path])).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/cannot be read any further/),
    })
    writeFileSync(path, '')
    expect(await run(['audit', 'verify', path])).toMatchObject({
      code: 1,
      stdout: expect.stringMatching(/nothing to verify/),
    })
  })

  test.each([
    ['a file that is not there', ['/nonexistent/audit.ndjson'], /cannot read \/nonexistent/],
    ['a folder', [tmpdir()], /cannot read .*EISDIR/],
    ['a head that is none', ['--head', 'abc', 'x'], /--head takes sha256/],
    ['a start that is none', ['--from', 'x', 'x'], /--from takes start, or sha256/],
    ['no file', [], /missing required argument/],
  ])('%s is wrong usage', async (_what, args, stderr) => {
    expect(await run(['audit', 'verify', ...args])).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(stderr),
    })
  })
})

test('the memory of it does not grow with the file', async () => {
  // 60,000 records, 30 MiB: kept, they would show.
  const path = join(folderForTest(), 'audit.ndjson')
  writeFileSync(path, `${runLines(60_000).join('\n')}\n`)
  expect(readFileSync(path).length).toBeGreaterThan(25e6)
  const args = ['--max-old-space-size=24', PROGRAM, 'audit', 'verify', path]
  const { code, stdout } = await run(args, { command: process.execPath })
  expect({ code, stdout: stdout.split('\n')[0] }).toEqual({
    code: 0,
    stdout: 'whole: 60000 records in 1 file',
  })
})
