/** The real program on the wire under test, in a process of its own: what it has open and what it recorded can be seen. */
import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { AuditLog } from './audit-log.ts'
import { withEveryDenial } from './every-denial.ts'
import { until, within } from './deadline.ts'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const PROGRAM = join(ROOT, 'bin/sallyport.js')
/** Starting takes a second of CPU; several may start at once on a machine that does something else, too. */
const START_MS = 30_000

export interface GateProcessOptions {
  /** More environment. */
  readonly env?: Readonly<Record<string, string>>
  /** `ulimit -n`, soft and hard. */
  readonly descriptors?: number
  /** Node's own options, for a program whose configuration is that file. */
  readonly nodeOptions?: (configFile: string) => readonly string[]
  /** Takes every line behind the first instead of {@link GateProcess.audit}: for runs that write too many to keep. */
  readonly onLine?: (line: string) => void
}

export class GateProcess {
  readonly audit = new AuditLog()
  readonly pid: number
  readonly child: ChildProcess
  /** Exit code, or the signal that ended it. */
  readonly ended: Promise<number | NodeJS.Signals | null>
  #port = 0
  #stderr = ''
  readonly #folder: string

  private constructor(child: ChildProcess, folder: string, onLine?: (line: string) => void) {
    this.child = child
    this.pid = child.pid ?? 0
    this.#folder = folder
    let rest = ''
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (onLine && this.audit.lines.length > 0) onLine(line)
        else this.audit.write(line)
      }
    })
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr += text
    })
    this.ended = new Promise((resolve) => {
      child.once('error', () => resolve(null))
      // Not `exit`: by then its last lines may still be on their way.
      child.once('close', (code, signal) => resolve(code ?? signal))
    })
  }

  /** Comes back when it listens. @param settings the configuration as an object; any free port of 127.0.0.1 unless it says */
  static async start(
    settings: Readonly<Record<string, unknown>>,
    { env = {}, descriptors, nodeOptions = () => [], onLine }: GateProcessOptions = {},
  ): Promise<GateProcess> {
    const folder = await mkdtemp(join(tmpdir(), 'sallyport-gate-'))
    const file = join(folder, 'sallyport.yaml')
    const wire = settings['wire'] ?? wireUnderTest()
    // JSON is YAML.
    await writeFile(
      file,
      JSON.stringify(withEveryDenial({ listen: '127.0.0.1:0', admin: { listen: null }, ...settings, wire })),
    )
    const args = [...nodeOptions(file), PROGRAM, 'serve', '--config', file]
    const child = spawn(
      descriptors === undefined ? process.execPath : 'sh',
      descriptors === undefined
        ? args
        : ['-c', `ulimit -n ${descriptors} && exec "$0" "$@"`, process.execPath, ...args],
      {
        cwd: ROOT,
        env: {
          ...process.env,
          NO_COLOR: '1',
          NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/sallyport-tests'),
          ...env,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    const gate = new GateProcess(child, folder, onLine)
    try {
      await until(
        () => gate.audit.lines.length > 0 || child.exitCode !== null || child.signalCode !== null,
        'the gate to start',
        START_MS,
      )
      gate.#port = gate.#readStart(wire)
      return gate
    } catch (error) {
      await gate.dispose()
      throw new Error(`the gate did not start: ${gate.stderr}`, { cause: error })
    }
  }

  get port(): number {
    return this.#port
  }

  get stderr(): string {
    return this.#stderr
  }

  get alive(): boolean {
    return this.child.exitCode === null && this.child.signalCode === null
  }

  /** Descriptors of sockets; Linux only. */
  sockets(): number {
    return this.#descriptorsOf('socket:')
  }

  #descriptorsOf(kind: 'socket:' | 'pipe:'): number {
    const folder = `/proc/${this.pid}/fd`
    return readdirSync(folder).filter((fd) => {
      try {
        return readlinkSync(`${folder}/${fd}`).startsWith(kind)
      } catch {
        // Closed meanwhile.
        return false
      }
    }).length
  }

  /** Both ends of every pipe; Linux only. */
  pipeEnds(): number {
    return this.#descriptorsOf('pipe:')
  }

  /** All descriptors; Linux only. */
  descriptors(): number {
    return readdirSync(`/proc/${this.pid}/fd`).length
  }

  /** Resident memory; Linux only. */
  residentBytes(): number {
    const [, kib = '0'] =
      /^VmRSS:\s+([0-9]+) kB$/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8')) ?? []
    return Number(kib) * 1024
  }

  /** Sends the signal and waits for the end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', ms = 10_000): Promise<number | NodeJS.Signals | null> {
    this.child.kill(signal)
    return within(this.ended, `the end of the gate after ${signal}`, ms)
  }

  /** Whatever state it is in, it is gone afterwards. */
  async dispose(): Promise<void> {
    if (this.alive) await this.stop('SIGKILL')
    await rm(this.#folder, { recursive: true, force: true })
  }

  #readStart(wire: unknown): number {
    const [started] = this.audit.records
    const listen = started?.sallyport['listen']
    if (started?.event.action !== 'gate-started' || !Array.isArray(listen)) throw new Error('no gate-started')
    if (wire !== 'auto' && started.sallyport['wire'] !== wire)
      throw new Error(`it runs on the ${String(started.sallyport['wire'])} wire`)
    return Number(/:([0-9]+)$/.exec(String(listen[0]))?.[1])
  }
}

export function wireUnderTest(): 'kernel' | 'portable' {
  return process.env['SALLYPORT_TEST_WIRE'] === 'kernel' ? 'kernel' : 'portable'
}
