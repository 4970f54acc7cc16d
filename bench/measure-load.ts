/** What tunnels, bytes and round trips cost a proxy. */
import { setTimeout as delay } from 'node:timers/promises'
import { runLoad, type Load, type LoadGear, type LoadResult } from './load.ts'
import { note, type Values } from './measures.ts'
import { cpuSeconds } from './proc.ts'
import { pinned } from './pin.ts'
import type { Server } from './server.ts'

/** Time for the records of the last tunnels to be written. */
const SETTLE_MS = 150
const BULK_BYTES = 16 * 1024 * 1024

export const setupLoad = (seconds: number): Load => ({ mode: 'setup', tunnels: 32, seconds, bytes: 1 })
const bulkLoad = (seconds: number): Load => ({ mode: 'bulk', tunnels: 4, seconds, bytes: BULK_BYTES })
const pingLoad = (seconds: number): Load => ({ mode: 'ping', tunnels: 1, seconds, bytes: 1 })

/** One turn of every load. */
export async function measureLoads(
  gear: LoadGear,
  server: Server,
  seconds: number,
  values: Values,
): Promise<void> {
  const setup = await costOf(gear, server, setupLoad(seconds))
  note(values, 'setupCpuUs', setup.cpuUs / setup.done)
  note(values, 'setupP50Us', setup.p50us)
  const bulk = await costOf(gear, server, bulkLoad(seconds))
  const gigabytes = (bulk.done * BULK_BYTES) / 1e9
  note(values, 'relayCpuPerGB', bulk.cpuUs / 1e6 / gigabytes)
  note(values, 'relayMBps', (gigabytes * 1000) / bulk.seconds)
  const ping = await pinned(server.pid, gear.origin, () => costOf(gear, server, pingLoad(seconds)))
  note(values, 'roundTripCpuUs', ping.cpuUs / ping.done)
  note(values, 'roundTripP50Us', ping.p50us)
  note(values, 'failed', setup.failed + bulk.failed + ping.failed)
}

/** Runs every load for a moment: what is compiled on the way is not measured. */
export async function warmUp(gear: LoadGear, server: Server): Promise<void> {
  for (const load of [setupLoad(2), bulkLoad(0.5), pingLoad(0.5)]) await runLoad(gear, server.proxy, load)
}

export async function costOf(
  gear: LoadGear,
  server: Server,
  load: Load,
): Promise<LoadResult & { readonly cpuUs: number }> {
  const before = cpuSeconds(server.pid)
  const result = await runLoad(gear, server.proxy, load)
  await delay(SETTLE_MS)
  if (result.done === 0) throw new Error(`no ${load.mode} succeeded`)
  return { ...result, cpuUs: (cpuSeconds(server.pid) - before) * 1e6 }
}
