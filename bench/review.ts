/** `npm run bench:review`: how fast a large log is reviewed, beside jq and a bare JSON.parse loop, in one run. */
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { arch, cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { onEnd, watchForTheEnd } from './clean-up.ts'
import { writeLog } from './review-log.ts'

const HELP = `Usage: npm run bench:review -- [options]

  --size MIB     size of each log (1024)
  --rounds N     how often everything is measured; the table has the medians (1)
  --help         this text

Needs jq. Logs are made in a temporary folder and taken away again.
`
const { size, rounds, help } = parseArgs({
  options: {
    size: { type: 'string', default: '1024' },
    rounds: { type: 'string', default: '1' },
    help: { type: 'boolean' },
  },
}).values

const own = (name: string): string => fileURLToPath(new URL(name, import.meta.url))
const CONTENDERS = {
  review: (log: string) => [
    process.execPath,
    own('../bin/sallyport.js'),
    'review',
    '--no-memory',
    '--json',
    log,
  ],
  jq: (log: string) => ['jq', '-n', '-f', own('review.jq'), log],
  'JSON.parse loop': (log: string) => [process.execPath, own('parse-loop.ts'), log],
}

interface Taken {
  readonly wall: number
  /** Of the processor, all threads together: what others do on the machine at the time does not count. */
  readonly cpu: number
}

/** Clock ticks of children that have ended: proc_pid_stat(5), fields 16 and 17, of 100 a second. */
function childSeconds(): number {
  const fields = readFileSync('/proc/self/stat', 'utf8').split(') ')[1]?.split(' ') ?? []
  return (Number(fields[13]) + Number(fields[14])) / 100
}

async function time([command = '', ...args]: string[]): Promise<Taken & { denials: number }> {
  const before = { wall: performance.now(), cpu: childSeconds() }
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const undo = (): boolean => child.kill()
  process.once('exit', undo)
  let stdout = ''
  for await (const chunk of child.stdout.setEncoding('utf8')) stdout += String(chunk)
  if (child.exitCode === null) await new Promise((resolve) => child.once('exit', resolve))
  process.removeListener('exit', undo)
  if (child.exitCode !== 0) throw new Error(`${command} ended with ${child.exitCode}`)
  const { denials }: { denials: number } = JSON.parse(stdout)
  return { wall: (performance.now() - before.wall) / 1000, cpu: childSeconds() - before.cpu, denials }
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}

async function measure(log: string): Promise<Map<string, Taken>> {
  const runs = new Map<string, Taken[]>()
  const counts = new Set<number>()
  for (let round = 0; round < Number(rounds); round += 1) {
    for (const [name, command] of Object.entries(CONTENDERS)) {
      process.stderr.write(`bench: ${name}\n`)
      const { denials, ...taken } = await time(command(log))
      counts.add(denials)
      runs.set(name, [...(runs.get(name) ?? []), taken])
    }
  }
  if (counts.size !== 1)
    throw new Error(`they do not agree on the number of denials: ${[...counts].join(', ')}`)
  return new Map(
    [...runs].map(([name, all]) => [
      name,
      { wall: median(all.map(({ wall }) => wall)), cpu: median(all.map(({ cpu }) => cpu)) },
    ]),
  )
}

async function main(): Promise<void> {
  watchForTheEnd()
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  onEnd(() => rmSync(folder, { recursive: true, force: true }))
  const [cpu] = cpus()
  process.stdout.write(
    `${cpus().length} × ${cpu?.model ?? 'unknown'}, ${arch()}, Node ${process.versions.node}\n\n`,
  )
  process.stdout.write('| Log | Program | Seconds | Processor seconds | MB/s | Times review |\n')
  process.stdout.write('| --- | --- | ---: | ---: | ---: | ---: |\n')
  for (const [title, denied] of [
    ['all lines denials', 1],
    ['1 in 100 lines a denial', 100],
  ] as const) {
    const log = join(folder, 'audit.ndjson')
    const { lines, bytes } = writeLog(log, Number(size) * 1024 * 1024, denied)
    const taken = await measure(log)
    const ours = taken.get('review')?.wall ?? Number.NaN
    for (const [name, { wall, cpu }] of taken) {
      const cells = [
        `${title}, ${lines} lines`,
        name,
        wall.toFixed(1),
        cpu.toFixed(1),
        (bytes / wall / 1e6).toFixed(0),
        (wall / ours).toFixed(1),
      ]
      process.stdout.write(`| ${cells.join(' | ')} |\n`)
    }
  }
}

if (help) process.stdout.write(HELP)
else await main()
