/** Starts and stops processes with enough descriptors; none outlives the benchmark. */
import { execFileSync, spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { onEnd } from './clean-up.ts'

/** The most descriptors that are asked for: an idle tunnel costs a proxy two. */
const WANTED_DESCRIPTORS = 65_536
/** Raises the limit as far as it goes (root may go beyond the hard one), then becomes the command. */
const RAISE = `ulimit -n ${WANTED_DESCRIPTORS} 2>/dev/null || ulimit -n "$(ulimit -H -n)"`

/** How many descriptors a process that is started here may have. */
export function descriptorLimit(): number {
  const text = execFileSync('/bin/sh', ['-c', `${RAISE}; ulimit -n`], { encoding: 'utf8' }).trim()
  return text === 'unlimited' ? WANTED_DESCRIPTORS : Number(text)
}

/** Starts `command` in a process group of its own. */
export function start(command: readonly string[], stdio: StdioOptions, cwd?: string): ChildProcess {
  const child = spawn('/bin/sh', ['-c', `${RAISE}; exec "$@"`, 'sh', ...command], {
    stdio,
    detached: true,
    ...(cwd !== undefined && { cwd }),
  })
  child.on('error', () => undefined)
  onEnd(() => kill(child, 'SIGKILL'))
  return child
}

/** Asks the process to end, and makes it end after `patienceMs`. */
export async function stop(child: ChildProcess, patienceMs = 2000): Promise<void> {
  if (hasEnded(child)) return
  const ended = new Promise((resolve) => {
    child.once('exit', resolve)
  })
  kill(child, 'SIGTERM')
  const timer = setTimeout(() => kill(child, 'SIGKILL'), patienceMs)
  await ended
  clearTimeout(timer)
}

export function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null || child.pid === undefined
}

function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  if (hasEnded(child) || child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // Gone in the meantime.
  }
}
