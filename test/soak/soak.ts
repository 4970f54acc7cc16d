/** One soak: a gate in a process of its own, load on loopback, samples all the time, a verdict. Linux only. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { EchoServer } from '../support/echo-server.ts'
import { GateProcess } from '../support/gate-process.ts'
import { seededRandom } from '../support/random.ts'
import { Load, type LoadCounts } from './load.ts'
import { judgeGrowth, judgeRest, type Finding, type Sample } from './verdict.ts'

export interface SoakOptions {
  readonly seconds: number
  readonly wire: 'kernel' | 'portable'
  readonly clients: number
  readonly seed: number
  readonly sampleMs: number
  /** Between two SIGHUPs. */
  readonly reloadMs: number
  readonly onSample?: (sample: Sample, counts: LoadCounts) => void
}

export interface SoakReport {
  readonly samples: readonly Sample[]
  readonly counts: LoadCounts
  readonly findings: readonly Finding[]
}

const PROBE = fileURLToPath(new URL('./probe.mjs', import.meta.url))
const RESETS = 0.01
const HOSTS = Array.from({ length: 8 }, (_, i) => `127.0.1.${i + 1}`)
/** Longer than refused clients are lingered for, and than any limit that is short. */
const REST_MS = 6000

/** What the records say, counted as they come: there are too many to keep. */
class Ledger {
  readonly actions = new Map<string, number>()
  /** Each for itself, or folded with others of its kind. */
  denials = 0
  last = 0
  gaps = 0

  read(line: string): void {
    // By text: parsing each line would load the machine more than the gate does.
    const action = /"action":"([a-z-]+)"/.exec(line)?.[1] ?? 'none'
    const folded = action === 'denials-folded' ? Number(/"count":([0-9]+)/.exec(line)?.[1]) : 0
    this.denials += action === 'tunnel-denied' || action === 'tunnel-failed' ? 1 : folded
    this.actions.set(action, (this.actions.get(action) ?? 0) + 1)
    const sequence = Number(/"sequence":([0-9]+)/.exec(line)?.[1])
    if (this.last !== 0 && sequence !== this.last + 1) this.gaps += 1
    this.last = sequence
  }

  count(...actions: readonly string[]): number {
    return actions.reduce((sum, action) => sum + (this.actions.get(action) ?? 0), 0)
  }
}

export async function soak(options: SoakOptions): Promise<SoakReport> {
  const { seconds, wire, clients, seed, sampleMs, reloadMs } = options
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-soak-'))
  const file = join(folder, 'probe.ndjson')
  writeFileSync(file, '')
  const upstream = await EchoServer.start('0.0.0.0', { remember: false })
  const ledger = new Ledger()
  const gate = await GateProcess.start(
    {
      wire,
      policy: { presets: [], allow: [{ host: 'cgr.dev', port: upstream.port }] },
      dns: { hosts: { 'cgr.dev': HOSTS } },
      addresses: { allow: ['127.0.0.0/8'] },
    },
    {
      env: { SALLYPORT_SOAK_FILE: file, SALLYPORT_SOAK_EVERY_MS: String(sampleMs) },
      nodeOptions: () => ['--expose-gc', '--import', PROBE],
      onLine: (line) => ledger.read(line),
    },
  )
  try {
    const startMs = performance.now()
    const look = (): Sample => ({
      seconds: (performance.now() - startMs) / 1000,
      rssBytes: gate.residentBytes(),
      descriptors: gate.descriptors(),
      tunnels: ledger.count('tunnel-opened') - ledger.count('tunnel-closed'),
      ...lastProbe(file),
    })
    await untilProbes(file, 2)
    const before = look()
    const load = new Load({
      gatePort: gate.port,
      target: `cgr.dev:${upstream.port}`,
      random: seededRandom(seed),
      clients,
      resets: RESETS,
    })
    await load.start()
    const samples: Sample[] = []
    let reloads = 0
    while (performance.now() - startMs < seconds * 1000 && gate.alive) {
      await sleep(sampleMs)
      samples.push(look())
      const sample = samples.at(-1)
      if (sample) options.onSample?.(sample, load.counts)
      if ((performance.now() - startMs) / reloadMs > reloads + 1) {
        reloads += 1
        gate.child.kill('SIGHUP')
      }
    }
    await load.stop()
    await sleep(Math.max(REST_MS, 3 * sampleMs))
    const after = look()
    const alive = gate.alive
    const exit = await gate.stop()
    const { counts } = load
    const opened = ledger.count('tunnel-opened')
    const decisions = opened + ledger.denials
    const findings: Finding[] = [
      ...judgeGrowth(samples),
      ...judgeRest(before, after),
      check(
        'every CONNECT is on record once',
        decisions === counts.connects,
        `${counts.connects} CONNECTs, ${decisions} decisions`,
      ),
      check(
        'every tunnel has one closing record',
        ledger.count('tunnel-closed') === opened,
        `${opened} opened, ${ledger.count('tunnel-closed')} closed`,
      ),
      check('the sequence has no gap', ledger.gaps === 0, `${ledger.last} records, ${ledger.gaps} gaps`),
      check(
        'every byte came back',
        counts.errors.length === 0,
        `${(counts.bytes / 2 ** 30).toFixed(2)} GiB, ${counts.errors.length} errors ${counts.errors.slice(0, 3).join('; ')}`,
      ),
      check(
        'every SIGHUP reloaded',
        ledger.count('gate-reloaded') === reloads,
        `${reloads} SIGHUPs, ${ledger.count('gate-reloaded')} reloads`,
      ),
      check(
        'the process lives, and ends well',
        alive && exit === 0,
        `exit ${String(exit)} after ${reloads} SIGHUPs`,
      ),
    ]
    return { samples, counts, findings }
  } finally {
    await gate.dispose()
    await upstream.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

function check(what: string, well: boolean, detail: string): Finding {
  return { what, well, detail }
}

function lastProbe(file: string): Pick<Sample, 'heapBytes' | 'handles' | 'timers'> {
  const line = readFileSync(file, 'utf8').trimEnd().split('\n').at(-1)
  const probe: Pick<Sample, 'heapBytes' | 'handles' | 'timers'> = JSON.parse(line ?? '')
  return probe
}

async function untilProbes(file: string, count: number): Promise<void> {
  for (let tries = 0; tries < 600; tries += 1) {
    if (readFileSync(file, 'utf8').split('\n').length > count) return
    await sleep(50)
  }
  throw new Error('the probe in the gate does not write')
}
