/** `sallyport review` as a program: inputs, memory, files it writes, exit codes, following. */
import { spawn } from 'node:child_process'
import {
  appendFileSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync, zstdCompressSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { deniedLine, openedLine } from '../support/audit-records.ts'
import { until } from '../support/deadline.ts'
import { PROGRAM, run, type Ended } from './run.ts'

let folder = ''
const path = (name: string): string => join(folder, name)
const put = (name: string, content: string | Buffer): string => {
  writeFileSync(path(name), content)
  return path(name)
}

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'sallyport-review-'))
  process.env['XDG_STATE_HOME'] = path('state')
})
afterEach(() => {
  delete process.env['XDG_STATE_HOME']
  rmSync(folder, { recursive: true })
})

const reportSchema = z.object({
  records: z.number(),
  denials: z.number(),
  groups: z.array(z.looseObject({ host: z.string().nullable(), count: z.number(), expected: z.boolean() })),
})
const parse = ({ stdout }: Ended) => reportSchema.parse(JSON.parse(stdout))
const DENIED = deniedLine({ host: 'cgr.dv', hint: { kind: 'typo', value: 'cgr.dev' } })
const OTHER = deniedLine({ host: 'tracker.example.com' })

describe('inputs', () => {
  test('several files, plain, gzip of several members and zstd, whatever their names', async () => {
    const files = [
      put('a.ndjson', DENIED + openedLine()),
      put('b.log', Buffer.concat([gzipSync(DENIED), gzipSync(OTHER)])),
      put('c.gz', zstdCompressSync(OTHER)),
    ]
    const ended = await run(['review', '--json', ...files])
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(parse(ended)).toMatchObject({ records: 5, denials: 4 })
  })

  test('standard input, with what docker compose puts around it', async () => {
    const child = spawn(process.execPath, [PROGRAM, 'review', '--json', '-'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    child.stdin.end(`sallyport-1  | listening on 3128\nsallyport-1  | ${DENIED}`)
    let stdout = ''
    for await (const chunk of child.stdout.setEncoding('utf8')) stdout += String(chunk)
    expect(reportSchema.parse(JSON.parse(stdout))).toMatchObject({ records: 1, denials: 1 })
  })

  test('without a file: audit.file of the configuration, and what it was rotated to', async () => {
    const log = put('audit.ndjson', DENIED)
    put('audit-20261122T000000.000Z.ndjson.gz', gzipSync(DENIED))
    put('audit-20261123T000000.000Z.ndjson', DENIED)
    // While gzip is at work, both are there.
    put('audit-20261123T000000.000Z.ndjson.gz', gzipSync(DENIED).subarray(0, 40))
    put('audit-20261121T000000.000Z.ndjson.xz', 'what cannot be read')
    put('audit-of-others.ndjson', DENIED)
    const config = put('sallyport.yaml', `audit: { file: { path: ${log} } }\n`)
    const ended = await run(['review', '--json', '-c', config])
    expect(ended).toMatchObject({ code: 0, stderr: '' })
    expect(parse(ended).denials).toBe(3)
    const without = await run(['review'])
    expect(without.code).toBe(2)
    expect(without.stderr).toContain('name the log, or - for standard input')
  })

  test('what cannot be read is said, the rest is reviewed, and the exit code tells', async () => {
    const whole = put('whole.ndjson', DENIED)
    const cutGzip = put('cut.gz', gzipSync(Buffer.from(OTHER.repeat(100))).subarray(0, 80))
    const missing = await run(['review', '--json', whole, path('none.ndjson')])
    expect(missing.code).toBe(3)
    expect(missing.stderr).toContain('no such file')
    expect(parse(missing).denials).toBe(1)
    const broken = await run(['review', '--json', whole, cutGzip])
    expect(broken.code).toBe(3)
    expect(broken.stderr).toContain('read up to there')
    const bad = await run(['review', '--json', put('bad.ndjson', `${DENIED}{"log":{"lev\nPNG\0\n`)])
    expect(bad.code).toBe(3)
    expect(bad.stderr).toContain('2 lines are missing from this review: 1 cut off or no JSON, 1 binary')
    expect((await run(['review', path('none.ndjson')])).code).toBe(2)
    mkdirSync(path('folder'))
    expect((await run(['review', path('folder')])).stderr).toContain('a folder, not a file')
  })

  test('all that stands before a damage in a compressed file is reviewed', async () => {
    const packed = gzipSync(
      Array.from({ length: 5000 }, (_, n) => deniedLine({ host: `h${n}.example` })).join(''),
    )
    const wrongSum = Buffer.from(packed)
    wrongSum[packed.length - 8] = 255 - (packed[packed.length - 8] ?? 0)
    for (const damaged of [wrongSum, Buffer.concat([packed, Buffer.from('something else')])]) {
      const ended = await run(['review', '--json', put('damaged.gz', damaged)])
      expect(ended.code).toBe(3)
      expect(ended.stderr).toContain('read up to there')
      expect(parse(ended).denials).toBe(5000)
    }
  })

  test.each([
    [['--since', 'yesterday'], '--since yesterday'],
    [['--reason', 'nope'], '--reason nope'],
    [['--group-by', 'host,colour'], '--group-by host,colour'],
    [['--fail-on', 'old'], '--fail-on old'],
    [['--since', '1h', '--until', '2h'], '--since is later'],
    [['--json', '--csv'], 'choose one'],
  ])('wrong usage: %j', async (args, said) => {
    const ended = await run(['review', ...args, put('a.ndjson', DENIED)])
    expect(ended.code).toBe(2)
    expect(ended.stderr).toContain(said)
  })
})

test('a long answer goes through a pipe whole, and a reader may leave early', async () => {
  const line = deniedLine({ host: 'HOST.example.com' })
  const log = put(
    'many.ndjson',
    Array.from({ length: 20_000 }, (_, index) => line.replace('HOST', `h${index}`)).join(''),
  )
  const whole = await run(
    ['-c', `"$0" "$1" review --csv "$2" | (sleep 0.2; wc -l)`, process.execPath, PROGRAM, log],
    {
      command: 'sh',
    },
  )
  expect(whole.stdout.trim()).toBe('20001')
  const early = await run(['-c', `"$0" "$1" review --csv "$2" | head -n 1`, process.execPath, PROGRAM, log], {
    command: 'sh',
  })
  expect(early).toMatchObject({ code: 0, stderr: '' })
})

describe('news', () => {
  test('the second review says what is new since the first; programs and filters do not use news up', async () => {
    const log = put('a.ndjson', DENIED)
    await run(['review', log])
    appendFileSync(log, OTHER)
    await run(['review', '--json', log])
    await run(['review', '--since', '2026-11-01', log])
    await run(['review', '--no-memory', log])
    const grouped = await run(['review', '--group-by', 'client', log])
    expect(grouped.stdout).not.toContain('new')
    const second = await run(['review', log])
    expect(second.stdout).toMatch(/2 groups, 1 new since the review of/)
    expect(second.stdout).toMatch(/^new +1 +tracker\.example\.com/m)
    expect((await run(['review', log])).stdout).toContain('0 new since')
  })

  test('--fail-on new is 1 until every denial is expected', async () => {
    const log = put('a.ndjson', DENIED + OTHER)
    const expected = put(
      'expected.yaml',
      '- { host: tracker.example.com, owner: web, ticket: WEB-1, expires: 2099-01-31 }\n',
    )
    expect((await run(['review', '--fail-on', 'new', '--expected', expected, log])).code).toBe(1)
    appendFileSync(expected, '- { host: cgr.dv, reason: host_not_allowed, owner: web }\n')
    const quiet = await run(['review', '--fail-on', 'new', '--expected', expected, '--json', log])
    expect(quiet.code).toBe(0)
    expect(parse(quiet).groups.every((group) => group.expected)).toBe(true)
    writeFileSync(expected, '- { host: cgr.dv }\n')
    const wrong = await run(['review', '--expected', expected, log])
    expect(wrong).toMatchObject({ code: 2 })
    expect(wrong.stderr).toContain('expected.yaml:1:')
  })
})

test.each([
  ['an empty file', ''],
  ['somebody else’s file', 'root:x:0:0:root:/root:/bin/sh\n'],
])('--fail-on new cannot pass on %s', async (_what, content) => {
  const ended = await run(['review', '--fail-on', 'new', put('a.ndjson', content)])
  expect(ended.code).toBe(3)
  expect(ended.stderr).toContain('there is no record in this input')
})

test('--fail-on new passes on a trail that has no record of that time', async () => {
  const args = ['review', '--fail-on', 'new', '--since', '2099-01-01', put('a.ndjson', DENIED)]
  expect(await run(args)).toMatchObject({ code: 0, stderr: '' })
})

test('--suggest writes what validate accepts', async () => {
  const log = put('a.ndjson', (DENIED + OTHER + deniedLine({ host: 'apk.cgr.dev' })).repeat(2))
  expect((await run(['review', '--suggest', path('patch.yaml'), log])).code).toBe(0)
  const patch = readFileSync(path('patch.yaml'), 'utf8')
  expect(patch).toContain('cgr.dv:443 should be cgr.dev:443')
  expect(patch).toContain('#   - host: tracker.example.com')
  expect((await run(['validate', path('patch.yaml')])).code).toBe(0)
  const nowhere = await run(['review', '--suggest', path('none/patch.yaml'), log])
  expect(nowhere).toMatchObject({ code: 2 })
  expect(nowhere.stderr).toContain('no such file')
})

test('no output is written over the log, the trail, the configuration or the list of what is expected', async () => {
  const log = put('other.ndjson', DENIED)
  const trail = put('audit.ndjson', DENIED)
  const former = put('audit-20261122T000000.000Z.ndjson', DENIED)
  const config = put('sallyport.yaml', `audit: { file: { path: ${trail} } }\n`)
  const expected = put('expected.yaml', '- { host: cgr.dv, owner: web }\n')
  const link = path('link.html')
  symlinkSync(log, link)
  for (const [option, out] of [
    ['--html', log],
    ['--html', link],
    ['--suggest', trail],
    ['--suggest', former],
    ['--suggest', config],
    ['--html', expected],
  ] as const) {
    const before = readFileSync(out, 'utf8')
    const ended = await run(['review', '-c', config, '--expected', expected, option, out, log])
    expect(ended).toMatchObject({ code: 2, stdout: '' })
    expect(ended.stderr).toContain(`${option} ${out} would be written over `)
    expect(readFileSync(out, 'utf8')).toBe(before)
  }
  const both = await run(['review', '--html', path('out'), '--suggest', path('out'), log])
  expect(both).toMatchObject({ code: 2 })
})

test('an output replaces an earlier one whole, through a link too, and leaves nothing beside it', async () => {
  const log = put('a.ndjson', DENIED)
  const page = put('page.html', 'x'.repeat(1_000_000))
  const link = path('latest.html')
  symlinkSync(page, link)
  expect(await run(['review', '--html', link, log])).toMatchObject({ code: 0 })
  expect(readFileSync(page, 'utf8')).toMatch(/^<!doctype html>[^]*<\/html>\n?$/i)
  expect(lstatSync(link).isSymbolicLink()).toBe(true)
  expect(readdirSync(path('.')).filter((name) => name.startsWith('.'))).toEqual([])
})

test('an output that is a pipe is written to as it is', async () => {
  const script =
    'mkfifo "$3" && cat "$3" & until [ -p "$3" ]; do :; done; "$0" "$1" review --suggest "$3" "$2"; wait'
  const args = ['-c', script, process.execPath, PROGRAM, put('a.ndjson', DENIED), path('pipe')]
  expect((await run(args, { command: 'sh' })).stdout).toContain('\npolicy:\n')
})

test('--follow goes on across rename and truncation, and ends with the whole table', async () => {
  const log = put('audit.ndjson', DENIED)
  const child = spawn(process.execPath, [PROGRAM, 'review', '-f', '--no-memory', log], {
    env: { ...process.env, NO_COLOR: '1' },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  const ended = new Promise((resolve) => child.on('close', resolve))
  const seen = (text: string) => until(() => stdout.includes(text), `output with ${text}\n${stdout}`)
  await seen('1 denial in 1 record')
  appendFileSync(log, deniedLine({ host: 'second.example' }))
  await seen('second.example:443')
  appendFileSync(log, deniedLine({ host: 'third.example' }))
  renameSync(log, `${log}.1`)
  writeFileSync(log, deniedLine({ host: 'fourth.example' }))
  await seen('third.example:443')
  await seen('fourth.example:443')
  truncateSync(log)
  // Shorter than what was there: a truncation, whenever it is looked at.
  appendFileSync(log, deniedLine({ host: 'fifth.example' }))
  await seen('fifth.example:443')
  child.kill('SIGINT')
  expect(await ended).toBe(0)
  expect(stdout).toContain('5 denials in 5 records')
})
