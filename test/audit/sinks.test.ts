/** The sink on real descriptors: files, pipes with readers of every kind, and a disk that is full. */
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { FdSink, type FdSinkOptions } from '../../src/audit/sinks.ts'
import { until, within } from '../support/deadline.ts'
import { Fifo, PipeReader } from '../support/fifo.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-sinks-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** What a sink told of itself, in order. */
type Told = readonly ['trouble', string] | readonly ['recovered', number]

interface Watched {
  readonly sink: FdSink
  readonly told: readonly Told[]
}

function watch(fd: number, options: Partial<FdSinkOptions> = {}): Watched {
  const told: Told[] = []
  const sink = new FdSink({
    name: 'test',
    fd,
    retryMs: 20,
    onTrouble: (code) => told.push(['trouble', code]),
    onRecovered: (lost) => told.push(['recovered', lost]),
    ...options,
  })
  return { sink, told }
}

let files = 0
function file(): { path: string; fd: number } {
  files += 1
  const path = join(folder, `${files}.log`)
  const fd = openSync(path, 'a')
  onTestFinished(() => closeSync(fd))
  return { path, fd }
}

/** Lines of 100 bytes, each with its number. */
function lines(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => `${String(from + index).padEnd(99, '.')}\n`)
}

function writeAll(sink: FdSink, all: readonly string[]): void {
  for (const line of all) sink.write(line)
}

const written = (sink: FdSink, ms = 5000): Promise<boolean> => within(sink.written(ms), 'written()')
const flush = (sink: FdSink, ms = 5000): Promise<boolean> => within(sink.flush(ms), 'flush()')
const nap = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, ms)
  })

/** More than any pipe holds (64 KiB, unless somebody asked for more). */
const MORE_THAN_A_PIPE = 3000

describe('a regular file', () => {
  test('gets every line, in order', async () => {
    const { path, fd } = file()
    const { sink, told } = watch(fd)
    const all = lines(1000)
    for (const part of [all.slice(0, 1), all.slice(1, 500), all.slice(500)]) {
      writeAll(sink, part)
      expect(await written(sink)).toBe(true)
    }
    expect(readFileSync(path, 'utf8')).toBe(all.join(''))
    expect(sink).toMatchObject({ name: 'test', healthy: true, lost: 0 })
    expect(told).toEqual([])
  })

  test('gets lines that come while others are being written', async () => {
    const { path, fd } = file()
    const { sink } = watch(fd)
    const all = lines(400)
    for (const line of all) {
      sink.write(line)
      if (Number.parseInt(line) % 20 === 0) {
        await new Promise((resolve) => {
          setImmediate(resolve)
        })
      }
    }
    expect(await flush(sink)).toBe(true)
    expect(readFileSync(path, 'utf8')).toBe(all.join(''))
  })

  test('is written by the time that written() says so, for each who asks', async () => {
    const { path, fd } = file()
    const { sink } = watch(fd)
    const asked: Promise<string>[] = []
    for (const line of lines(50)) {
      sink.write(line)
      asked.push(
        sink.written(5000).then((ok) => {
          expect(ok).toBe(true)
          return readFileSync(path, 'utf8')
        }),
      )
      if (asked.length % 7 === 0) await nap(1)
    }
    for (const [index, seen] of (await within(Promise.all(asked), 'all answers')).entries()) {
      expect(seen).toContain(lines(1, index)[0])
    }
  })

  test('nothing to write is written at once', async () => {
    const { path, fd } = file()
    const { sink } = watch(fd)
    expect(await written(sink, 0)).toBe(true)
    expect(await flush(sink, 0)).toBe(true)
    expect(readFileSync(path, 'utf8')).toBe('')
  })

  test('holds what format makes of each line, and the queue counts that', async () => {
    const { path, fd } = file()
    const format = (line: string): string => `${line.trim().toUpperCase()} ✓\n`
    // 'AB ✓\n' is seven bytes.
    const { sink, told } = watch(fd, { format, maxQueueBytes: 14 })
    for (const line of ['ab\n', 'cd\n', 'ef\n']) sink.write(line)
    expect(await flush(sink)).toBe(true)
    expect(readFileSync(path, 'utf8')).toBe('AB ✓\nCD ✓\n')
    expect(told).toEqual([
      ['trouble', 'EOVERFLOW'],
      ['recovered', 1],
    ])
  })
})

describe.each(['blocking', 'non-blocking'] as const)('a %s pipe', (kind) => {
  test('whose reader sleeps first loses nothing and keeps the order', async () => {
    const fifo = new Fifo()
    const fd = fifo.writer(kind)
    const reader = await PipeReader.start(fifo, 0.4)
    const { sink, told } = watch(fd)
    const all = lines(MORE_THAN_A_PIPE)
    writeAll(sink, all)
    await nap(100)
    expect(reader.text).toBe('')
    writeAll(sink, lines(10, MORE_THAN_A_PIPE))
    expect(sink.healthy).toBe(true)
    expect(await flush(sink)).toBe(true)
    fifo.close(fd)
    expect(await reader.end()).toBe([...all, ...lines(10, MORE_THAN_A_PIPE)].join(''))
    expect(sink.lost).toBe(0)
    expect(told).toEqual([])
  })

  test('whose reader is gone is EPIPE, told once; the lines wait for the next reader', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const fd = fifo.writer(kind)
    const { sink, told } = watch(fd)
    sink.write('first\n')
    expect(await written(sink)).toBe(true)
    expect(Fifo.read(reader)).toBe('first\n')
    fifo.close(reader)

    sink.write('second\n')
    expect(await written(sink)).toBe(false)
    expect(sink.healthy).toBe(false)
    expect(told).toEqual([['trouble', 'EPIPE']])
    // At once: nobody waits for a sink that is known to fail.
    sink.write('third\n')
    const before = performance.now()
    expect(await written(sink)).toBe(false)
    expect(performance.now() - before).toBeLessThan(1000)
    // Many tries later it has still been said once.
    await nap(150)
    expect(told).toEqual([['trouble', 'EPIPE']])
    expect(sink.lost).toBe(0)

    const next = fifo.reader()
    expect(await Fifo.readUntil(next, (text) => text.endsWith('third\n'), 'the lines that waited')).toBe(
      'second\nthird\n',
    )
    await until(() => sink.healthy, 'recovery')
    expect(told).toEqual([
      ['trouble', 'EPIPE'],
      ['recovered', 0],
    ])
    sink.write('fourth\n')
    expect(await written(sink)).toBe(true)
    expect(Fifo.read(next)).toBe('fourth\n')
  })

  test('all who wait hear that the reader died, those behind the running write as well', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const fd = fifo.writer(kind)
    const { sink, told } = watch(fd)
    fifo.fill()
    sink.write('running\n')
    const running = sink.written(60_000)
    await nap(50)
    sink.write('queued\n')
    const queued = sink.written(60_000)
    fifo.close(reader)
    expect(await within(Promise.all([running, queued]), 'both answers')).toEqual([false, false])
    expect(told).toEqual([['trouble', 'EPIPE']])
    expect(sink.lost).toBe(0)
  })

  test('that is stuck fails whoever waits after their time, and from then on at once', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const fd = fifo.writer(kind)
    const { sink, told } = watch(fd)
    const filled = fifo.fill()
    sink.write('late\n')
    const before = performance.now()
    expect(await written(sink, 120)).toBe(false)
    expect(performance.now() - before).toBeGreaterThan(110)
    expect(sink.healthy).toBe(false)
    const after = performance.now()
    sink.write('later\n')
    expect(await written(sink, 60_000)).toBe(false)
    expect(performance.now() - after).toBeLessThan(1000)
    expect(told).toEqual([['trouble', 'ETIMEDOUT']])

    const text = await Fifo.readUntil(reader, (text) => text.endsWith('later\n'), 'what waited')
    expect(text).toBe(`${'.'.repeat(filled)}late\nlater\n`)
    await until(() => sink.healthy, 'recovery')
    expect(told).toEqual([
      ['trouble', 'ETIMEDOUT'],
      ['recovered', 0],
    ])
    expect(sink.lost).toBe(0)
  })

  test('that is slow for less than that is no trouble', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const fd = fifo.writer(kind)
    const { sink, told } = watch(fd)
    fifo.fill()
    sink.write('late\n')
    const answer = sink.written(60_000)
    await nap(100)
    expect(sink.healthy).toBe(true)
    await Fifo.readUntil(reader, (text) => text.endsWith('late\n'), 'the line')
    expect(await within(answer, 'written()')).toBe(true)
    expect(told).toEqual([])
  })

  test('whose queue is full loses what comes then, counts it and says it once', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const fd = fifo.writer(kind)
    const { sink, told } = watch(fd, { maxQueueBytes: 1000 })
    const filled = fifo.fill()
    const all = lines(25)
    writeAll(sink, all.slice(0, 4))
    // What is being written counts too.
    await nap(50)
    writeAll(sink, all.slice(4, 10))
    expect(sink).toMatchObject({ healthy: true, lost: 0 })
    expect(told).toEqual([])
    writeAll(sink, all.slice(10))
    expect(sink).toMatchObject({ healthy: false, lost: 15 })
    expect(await written(sink, 60_000)).toBe(false)
    await nap(100)
    expect(told).toEqual([['trouble', 'EOVERFLOW']])

    const text = await Fifo.readUntil(reader, (text) => text.length >= filled + 1000, 'what was kept')
    expect(text.slice(filled)).toBe(all.slice(0, 10).join(''))
    await until(() => sink.healthy, 'recovery')
    expect(told).toEqual([
      ['trouble', 'EOVERFLOW'],
      ['recovered', 15],
    ])
    // The next trouble counts from here.
    fifo.fill()
    writeAll(sink, lines(12))
    expect(sink.lost).toBe(17)
    await Fifo.readUntil(reader, (text) => text.endsWith(lines(1, 9)[0] ?? ''), 'what was kept')
    await until(() => sink.healthy, 'recovery')
    expect(told.slice(2)).toEqual([
      ['trouble', 'EOVERFLOW'],
      ['recovered', 2],
    ])
  })

  test('that is slow all the time is trouble now and then, not with each write', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const fd = fifo.writer(kind)
    const maxQueueBytes = 20_000
    const { sink, told } = watch(fd, { maxQueueBytes })
    const filled = fifo.fill()
    let sent = 0
    let received = ''
    const end = performance.now() + 500
    // Ten times as much comes as goes.
    while (performance.now() < end) {
      writeAll(sink, lines(100, sent))
      sent += 100
      received += Fifo.read(reader, 1000)
      await nap(2)
    }
    received += await Fifo.readUntil(reader, () => sink.healthy, 'recovery')
    expect(await flush(sink)).toBe(true)
    received += Fifo.read(reader)
    const arrived = received.slice(filled).split('\n').slice(0, -1)
    expect(arrived.length + sink.lost).toBe(sent)
    const numbers = arrived.map((line) => Number.parseInt(line))
    expect(numbers).toEqual(numbers.toSorted((a, b) => a - b))
    // Between one trouble and the next, half a queue has gone out.
    const troubles = told.filter(([what]) => what === 'trouble').length
    expect(troubles).toBeGreaterThan(0)
    expect(troubles).toBeLessThanOrEqual(1 + received.length / (maxQueueBytes / 2))
    expect(told.map(([what]) => what)).toEqual(
      Array.from({ length: troubles }, () => ['trouble', 'recovered']).flat(),
    )
    // Each loss is told of once.
    const counts = told.flatMap(([what, lost]) => (what === 'recovered' ? [lost] : []))
    expect(counts.reduce((sum, lost) => sum + lost, 0)).toBe(sink.lost)
  })

  test('what is lost while its reader is gone is counted from the first line', async () => {
    const fifo = new Fifo()
    const fd = fifo.writer(kind)
    const { sink, told } = watch(fd, { maxQueueBytes: 500 })
    writeAll(sink, lines(1))
    expect(await written(sink)).toBe(false)
    writeAll(sink, lines(6, 1))
    expect(sink.lost).toBe(2)
    expect(told).toEqual([['trouble', 'EPIPE']])
    const reader = fifo.reader()
    await Fifo.readUntil(reader, (text) => text === lines(5).join(''), 'what was kept')
    await until(() => sink.healthy, 'recovery')
    expect(told.slice(1)).toEqual([['recovered', 2]])
  })
})

describe('flush', () => {
  test('waits for a reader that sleeps', async () => {
    const fifo = new Fifo()
    const fd = fifo.writer()
    const reader = await PipeReader.start(fifo, 0.3)
    const { sink } = watch(fd)
    writeAll(sink, lines(MORE_THAN_A_PIPE))
    expect(await flush(sink)).toBe(true)
    fifo.close(fd)
    expect(await reader.end()).toBe(lines(MORE_THAN_A_PIPE).join(''))
  })

  test('gives up after its time, and counts what is not out', async () => {
    const fifo = new Fifo()
    fifo.reader()
    const { sink, told } = watch(fifo.writer())
    fifo.fill()
    writeAll(sink, lines(3))
    await nap(50)
    writeAll(sink, lines(4))
    const before = performance.now()
    expect(await flush(sink, 150)).toBe(false)
    expect(performance.now() - before).toBeGreaterThan(140)
    expect(performance.now() - before).toBeLessThan(2000)
    expect(sink.lost).toBe(7)
    expect(told).toEqual([['trouble', 'ETIMEDOUT']])
  })

  test('counts as lost only what the reader will not see', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const { sink } = watch(fifo.writer())
    const all = lines(MORE_THAN_A_PIPE)
    writeAll(sink, all)
    // One byte leaves no more room than there was, and shows that the pipe is being filled.
    let text = ''
    await until(() => (text += Fifo.read(reader, 1)) !== '', 'the first byte')
    expect(await flush(sink, 150)).toBe(false)
    text += Fifo.read(reader)
    const whole = text.split('\n').length - 1
    expect(whole).toBeGreaterThan(0)
    expect(sink.lost).toBe(all.length - whole)
  })

  test('gives a failing sink one more try: enough when the reader is back', async () => {
    const fifo = new Fifo()
    const fd = fifo.writer()
    const { sink, told } = watch(fd, { retryMs: 200 })
    sink.write('kept\n')
    expect(await written(sink)).toBe(false)
    const reader = fifo.reader()
    expect(await flush(sink)).toBe(true)
    expect(Fifo.read(reader)).toBe('kept\n')
    expect(sink.lost).toBe(0)
    expect(told).toEqual([
      ['trouble', 'EPIPE'],
      ['recovered', 0],
    ])
  })

  test('and no more than that when it is not', async () => {
    const fifo = new Fifo()
    const { sink } = watch(fifo.writer(), { retryMs: 100 })
    writeAll(sink, lines(5))
    expect(await written(sink)).toBe(false)
    const before = performance.now()
    expect(await flush(sink, 9000)).toBe(false)
    expect(performance.now() - before).toBeLessThan(2000)
    expect(sink.lost).toBe(5)
  })
})

describe.skipIf(!existsSync('/dev/full'))('a disk that is full (needs /dev/full)', () => {
  /** Gives the number of an open descriptor to a file, as dup2(2) would. */
  function replace(fd: number, path: string): void {
    closeSync(fd)
    const others: number[] = []
    for (;;) {
      const opened = openSync(path, 'a')
      if (opened === fd) break
      others.push(opened)
      // The system gives out the lowest free number, so it cannot be above.
      if (opened > fd) throw new Error(`descriptor ${fd} was taken`)
    }
    for (const other of others) closeSync(other)
  }

  test('is ENOSPC, told once, and what waited is written when there is room again', async () => {
    const fd = openSync('/dev/full', 'a')
    const { sink, told } = watch(fd, { retryMs: 300, maxQueueBytes: 1000 })
    writeAll(sink, lines(3))
    expect(await written(sink)).toBe(false)
    expect(sink.healthy).toBe(false)
    expect(told).toEqual([['trouble', 'ENOSPC']])
    writeAll(sink, lines(9, 3))
    expect(sink.lost).toBe(2)
    expect(await written(sink, 60_000)).toBe(false)

    // Between two tries: no write is running.
    const path = join(folder, 'room.log')
    replace(fd, path)
    await until(() => sink.healthy, 'recovery')
    expect(await written(sink)).toBe(true)
    expect(readFileSync(path, 'utf8')).toBe(lines(10).join(''))
    expect(told).toEqual([
      ['trouble', 'ENOSPC'],
      ['recovered', 2],
    ])
  })

  test('that stays full is still one trouble, and flush counts what it held', async () => {
    const fd = openSync('/dev/full', 'a')
    const { sink, told } = watch(fd, { retryMs: 10 })
    writeAll(sink, lines(3))
    expect(await written(sink)).toBe(false)
    await nap(100)
    writeAll(sink, lines(2))
    expect(await flush(sink)).toBe(false)
    expect(sink.lost).toBe(5)
    expect(told).toEqual([['trouble', 'ENOSPC']])
  })
})

test('a line that is larger than the queue is lost, and nobody is told that it is written', async () => {
  const { path, fd } = file()
  const { sink, told } = watch(fd, { maxQueueBytes: 50 })
  writeAll(sink, lines(1))
  expect(sink).toMatchObject({ healthy: false, lost: 1 })
  expect(await written(sink)).toBe(false)
  sink.write('small\n')
  await until(() => sink.healthy, 'recovery')
  expect(readFileSync(path, 'utf8')).toBe('small\n')
  expect(told).toEqual([
    ['trouble', 'EOVERFLOW'],
    ['recovered', 1],
  ])
})

test('all lines of one turn go out with one write', async () => {
  const fifo = new Fifo()
  const reader = fifo.reader()
  const fd = fifo.writer()
  // A write of at most PIPE_BUF bytes goes out as a whole or not at all (pipe(7)). Here is room for 20 lines, not for 30.
  const capacity = fifo.fill()
  Fifo.read(reader)
  expect(writeSync(fd, Buffer.alloc(capacity - 2050, '.'))).toBe(capacity - 2050)
  const { sink, told } = watch(fd)
  const all = lines(30)
  writeAll(sink, all)
  await nap(100)
  expect(Fifo.read(reader)).toMatch(/^\.+$/)
  expect(await flush(sink)).toBe(true)
  expect(Fifo.read(reader)).toBe(all.join(''))
  expect(told).toEqual([])
})
