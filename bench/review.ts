/**
 * What a review costs: `node bench/review.ts [MB]` writes logs of that size (1000 by default) and reads them with
 * `sallyport review`, with jq doing the same grouping, and with the barest loops over lines that only call JSON.parse.
 * Each is a process of its own, all in one run, and each has read the file once before: the disk is not measured.
 */
import { execFileSync, spawn } from 'node:child_process'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sampleLog } from '../test/support/sample-log.ts'

const ROUNDS = 3
/** On every Linux of today. */
const TICKS_PER_SECOND = 100
const BLOCK_LINES = 20_000
const PROGRAM = fileURLToPath(new URL('../bin/sallyport.js', import.meta.url))
const LOOPS = fileURLToPath(new URL('review-loops.ts', import.meta.url))
const GROUPING =
  'reduce (inputs | select(.event.action == "tunnel-denied")) as $r ({}; .[[$r.destination.domain // $r.destination.ip, $r.destination.port, $r.event.reason] | tostring] += 1)'

interface Measured {
  readonly seconds: number
  /** Of the processor, its user and system time. */
  readonly cpuSeconds: number
  /** The most memory it held, where the system says. */
  readonly peakMb: number
}

async function measure(command: string, args: readonly string[]): Promise<Measured> {
  const start = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'] })
  let peakMb = 0
  let cpuSeconds = 0
  const timer = setInterval(() => {
    peakMb = Math.max(peakMb, residentMb(child.pid))
    cpuSeconds = Math.max(cpuSeconds, cpuSecondsOf(child.pid))
  }, 20)
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', resolve)
  })
  clearInterval(timer)
  if (code !== 0) throw new Error(`${command} ended with ${String(code)}`)
  return { seconds: (performance.now() - start) / 1000, cpuSeconds, peakMb }
}

function residentMb(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8')
    return Number(/VmHWM:\s+([0-9]+)/.exec(status)?.[1] ?? 0) / 1024
  } catch {
    return 0
  }
}

function cpuSecondsOf(pid: number | undefined): number {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /, '')
      .split(' ')
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND
  } catch {
    return 0
  }
}

/** The same two days in month after month, until the file is large enough. */
function writeLog(file: string, bytes: number, denied: number): void {
  const block = [...sampleLog({ lines: BLOCK_LINES, end: Date.parse('2026-11-24T12:00:00Z'), denied })].join(
    '',
  )
  const fd = openSync(file, 'w')
  let written = 0
  for (let month = 0; written < bytes; month += 1) {
    const stamp = new Date(Date.UTC(2020, month, 1)).toISOString().slice(0, 8)
    written += writeSync(fd, block.replaceAll('"@timestamp":"2026-11-', `"@timestamp":"${stamp}`))
  }
  closeSync(fd)
}

const sizeMb = Number(process.argv[2] ?? 1000)
const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
const file = join(folder, 'audit.ndjson')
const node = process.execPath
const candidates: readonly (readonly [name: string, command: string, args: readonly string[]])[] = [
  ['sallyport review', node, [PROGRAM, 'review', '--json', file]],
  ['JSON.parse, own loop', node, [LOOPS, 'buffer', file]],
  ['JSON.parse, node:readline', node, [LOOPS, 'readline', file]],
  [execFileSync('jq', ['--version'], { encoding: 'utf8' }).trim(), 'jq', ['-n', '-c', GROUPING, file]],
]
try {
  for (const denied of [100, 1]) {
    writeLog(file, sizeMb * 1e6, denied)
    await measure('cat', [file])
    const best = new Map<string, Measured>()
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const [name, command, args] of candidates) {
        const measured = await measure(command, args)
        const before = best.get(name)
        if (!before || measured.seconds < before.seconds) best.set(name, measured)
      }
    }
    const own = best.get('sallyport review')?.seconds ?? Number.NaN
    process.stdout.write(
      `\n${sizeMb} MB, at most ${denied} of 100 records are denials; the best of ${ROUNDS} rounds\n`,
    )
    for (const [name, { seconds, cpuSeconds, peakMb }] of best) {
      process.stdout.write(
        `${name.padEnd(28)}${seconds.toFixed(2).padStart(7)} s  ${(seconds / own).toFixed(1).padStart(5)} x  ${cpuSeconds.toFixed(2).padStart(7)} s CPU  ${peakMb.toFixed(0).padStart(5)} MB\n`,
      )
    }
  }
} finally {
  rmSync(folder, { recursive: true })
}
