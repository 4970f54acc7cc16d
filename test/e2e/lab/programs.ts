import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { within } from './wait.ts'

export interface Finished {
  code: number | null
  signal: NodeJS.Signals | null
  stdout: string
  stderr: string
}

export interface RunOptions {
  env?: Record<string, string>
  cwd?: string
  input?: string
  deadlineMs?: number
}

/** A tidy environment: no proxy settings of the person who runs the tests, no translations, `home` as HOME. */
export const tidyEnv = (home: string, extra: Record<string, string> = {}): Record<string, string> => ({
  PATH: `${process.env['PATH'] ?? '/usr/bin:/bin'}:/usr/sbin:/sbin`,
  HOME: home,
  LC_ALL: 'C',
  TZ: 'UTC',
  ...extra,
})

/** On Linux the kernel ends them with us, even when we are killed. */
const mortal = process.platform === 'linux' ? ['setpriv', '--pdeathsig', 'KILL'] : []

const running = new Set<ChildProcess>()
process.on('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** Everything the tests start goes through here, so that nothing outlives them. */
export const launch = (command: string, args: readonly string[], options: RunOptions): ChildProcess => {
  const [program = command, ...rest] = [...mortal, command, ...args]
  const child = spawn(program, rest, {
    env: options.env ?? tidyEnv('/nonexistent'),
    cwd: options.cwd,
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  running.add(child)
  child.once('close', () => running.delete(child))
  child.once('error', () => running.delete(child))
  child.stdin?.on('error', () => {})
  return child
}

/** Runs a program to its end; a program that passes its deadline (default 60 s) is killed, and that is an error. */
export const run = async (
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> => {
  const child = launch(command, args, options)
  let stdout = ''
  let stderr = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (stdout += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (stderr += text))
  child.stdin?.end(options.input ?? '')
  const ended = new Promise<Finished>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr }))
  })
  try {
    return await within(`end of ${command} ${args.join(' ')}`, options.deadlineMs ?? 60_000, ended)
  } catch (error) {
    child.kill('SIGKILL')
    throw new Error(`${String(error)}\n${stdout}\n${stderr}`, { cause: error })
  }
}

/** As `run`, for the steps that must succeed. */
export const mustRun = async (
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> => {
  const finished = await run(command, args, options)
  if (finished.code !== 0) {
    throw new Error(
      `${command} ${args.join(' ')} exited ${finished.code}\n${finished.stdout}\n${finished.stderr}`,
    )
  }
  return finished
}
