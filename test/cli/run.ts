/** The real program, from source, with a deadline. */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../../', import.meta.url))
export const PROGRAM = fileURLToPath(new URL('../../bin/sallyport.js', import.meta.url))
export const FIXTURES = fileURLToPath(new URL('../fixtures/config/', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface RunOptions {
  readonly command?: string
  readonly cwd?: string
  /** Called with what standard output has so far, at every chunk. */
  readonly onStdout?: (text: string, stop: () => void) => void
}

const DEADLINE_MS = 15_000
const CACHE = join(ROOT, 'node_modules/.cache/sallyport-tests')

/** Runs `sallyport …` (or another command) to its end; a run that hangs is killed and is an error. */
export function run(args: readonly string[], options: RunOptions = {}): Promise<Ended> {
  const [command, rest] =
    options.command === undefined ? [process.execPath, [PROGRAM, ...args]] : [options.command, args]
  return new Promise((resolve, reject) => {
    const child = spawn(command, rest, {
      cwd: options.cwd ?? ROOT,
      // The cache holds compiled sources of earlier runs: starts are quicker, and nothing else changes.
      env: { ...process.env, NO_COLOR: '1', COLUMNS: '100', NODE_COMPILE_CACHE: CACHE },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let stdout = ''
    let stderr = ''
    const timer = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`${args.join(' ')}: still running after ${DEADLINE_MS} ms\n${stdout}\n${stderr}`))
    }, DEADLINE_MS)
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text
      options.onStdout?.(stdout, () => child.kill('SIGTERM'))
    })
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text
    })
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ code, stdout, stderr })
    })
  })
}
