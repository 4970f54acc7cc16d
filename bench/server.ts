/** A running proxy. */
import { closeSync, openSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { cpuSeconds } from './proc.ts'
import { hasEnded, start, stop } from './processes.ts'
import type { Proxy } from './proxies.ts'

export interface Server {
  readonly proxy: Proxy
  readonly pid: number
  /** From the start of the process to the first accepted connection. */
  readonly readyMs: number
  /** CPU that it took until then. */
  readonly readyCpuMs: number
  stop(): Promise<void>
}

const READY_TIMEOUT_MS = 20_000
const POLL_MS = 2

/** Starts a proxy, its output going into files as a service's does, and waits until it accepts connections. */
export async function startServer(proxy: Proxy, folder: string): Promise<Server> {
  const output = join(folder, `${proxy.name}.out`)
  const errors = join(folder, `${proxy.name}.err`)
  const out = openSync(output, 'w')
  const err = openSync(errors, 'w')
  const startedMs = performance.now()
  const child = start(proxy.command, ['ignore', out, err], folder)
  closeSync(out)
  closeSync(err)
  while (!(await accepts(proxy.port))) {
    if (hasEnded(child) || performance.now() - startedMs > READY_TIMEOUT_MS) {
      await stop(child)
      throw new Error(`does not start: ${readFileSync(errors, 'utf8').slice(-300).trim()}`)
    }
    await delay(POLL_MS)
  }
  const readyMs = performance.now() - startedMs
  const pid = child.pid ?? 0
  const readyCpuMs = cpuSeconds(pid) * 1000
  await delay(100)
  if (proxy.proof !== undefined && !readFileSync(output, 'utf8').includes(proxy.proof)) {
    await stop(child)
    throw new Error(`not what was asked for: ${readFileSync(errors, 'utf8').slice(0, 300).trim()}`)
  }
  return { proxy, pid, readyMs, readyCpuMs, stop: () => stop(child) }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1')
    socket.once('error', () => resolve(false))
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
  })
}
