/** The real program, serving: started with a configuration, waited for, and gone after the test. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { PROGRAM, ROOT } from '../cli/run.ts'
import { until, within } from './deadline.ts'

export interface Line {
  readonly event: {
    readonly action: string
    readonly reason?: string
    readonly id?: string
    readonly sequence: number
  }
  readonly source?: { readonly ip: string; readonly port: number }
  readonly sallyport: Readonly<Record<string, unknown>>
  readonly message: string
}

export interface Served {
  readonly child: ChildProcess
  readonly port: number
  /** The configuration file. */
  readonly file: string
  /** What the file has, with other keys in place of some. */
  readonly textWith: (config: Readonly<Record<string, unknown>>) => string
  readonly stderr: () => string
  /** The audit records so far. */
  readonly records: () => readonly Line[]
  /** The same, as the lines that they are. */
  readonly lines: () => readonly string[]
  readonly end: (ms?: number) => Promise<number | NodeJS.Signals | null>
}

export interface ServeOptions {
  /** A descriptor for the program's standard output, which then gets the records too. */
  readonly stdout?: number
  /** A file that is there already, and the trail that it names. */
  readonly config?: string
  readonly trail?: string
}

/**
 * @param config the configuration, as YAML has it; `listen` is 127.0.0.1 with a port that the system chooses
 */
export async function serve(
  config: Readonly<Record<string, unknown>>,
  { stdout, config: given, trail: givenTrail }: ServeOptions = {},
): Promise<Served> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-served-'))
  const file = given ?? join(folder, 'config.yaml')
  const trail = givenTrail ?? join(folder, 'audit.ndjson')
  // JSON is YAML.
  const textWith = (changes: Readonly<Record<string, unknown>>): string =>
    JSON.stringify({
      listen: '127.0.0.1:0',
      admin: { listen: null },
      audit: { stdout: stdout !== undefined, file: { path: trail } },
      ...config,
      ...changes,
    })
  if (given === undefined) writeFileSync(file, textWith({}))
  const child = spawn(process.execPath, [PROGRAM, 'serve', '--config', file], {
    cwd: ROOT,
    env: {
      ...process.env,
      NO_COLOR: '1',
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/sallyport-tests'),
    },
    stdio: ['ignore', stdout ?? 'ignore', 'pipe'],
  })
  let stderr = ''
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    stderr += chunk
  })
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal))
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
    rmSync(folder, { recursive: true, force: true })
  })
  const lines = (): readonly string[] => {
    try {
      return readFileSync(trail, 'utf8').split('\n').slice(0, -1)
    } catch {
      return []
    }
  }
  const records = (): readonly Line[] => lines().map((line): Line => JSON.parse(line))
  await until(() => lines().length > 0 || child.exitCode !== null, 'the start of the program')
  if (child.exitCode !== null) throw new Error(`ended with ${child.exitCode}: ${stderr}`)
  const listen = records()[0]?.sallyport['listen']
  const port = Number(Array.isArray(listen) ? String(listen[0]).split(':').at(-1) : Number.NaN)
  return {
    child,
    port,
    file,
    textWith,
    stderr: () => stderr,
    records,
    lines,
    end: (ms) => within(ended, 'the end of the process', ms),
  }
}
