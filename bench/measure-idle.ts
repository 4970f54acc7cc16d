/** What idle tunnels cost a proxy: memory for each, and what they do to the set-up of others. */
import { setTimeout as delay } from 'node:timers/promises'
import { gatherCrowd, runLoad, type Crowd, type LoadGear } from './load.ts'
import { costOf, setupLoad } from './measure-load.ts'
import { idlePss, idleRss, note, setupWithIdle, type Values } from './measures.ts'
import { memory } from './proc.ts'
import type { Server } from './server.ts'

const SETTLE_MS = 500

/** Of a proxy that has just been started: one that has worked hides what it needs in what it has. */
export async function measureIdle(
  gear: LoadGear,
  server: Server,
  counts: readonly number[],
  seconds: number,
  values: Values,
): Promise<void> {
  if (counts.length === 0) return
  await runLoad(gear, server.proxy, setupLoad(2))
  await delay(SETTLE_MS)
  const before = memory(server.pid)
  const crowds: Crowd[] = []
  let open = 0
  for (const count of counts) {
    crowds.push(await gatherCrowd(gear, server.proxy, count - open))
    open = count
    await delay(SETTLE_MS)
    const { rss, pss } = memory(server.pid)
    note(values, idleRss(count), (rss - before.rss) / 1024 / count)
    note(values, idlePss(count), (pss - before.pss) / 1024 / count)
  }
  // The largest crowd first, so that the smallest is measured on a proxy that is as warm.
  await measureSetup(gear, server, open, seconds, values)
  for (const crowd of crowds.splice(1)) note(values, 'failed', await crowd.disperse())
  await delay(SETTLE_MS)
  const [first] = counts
  if (first !== undefined && first !== open) await measureSetup(gear, server, first, seconds, values)
  for (const crowd of crowds) note(values, 'failed', await crowd.disperse())
}

async function measureSetup(
  gear: LoadGear,
  server: Server,
  idle: number,
  seconds: number,
  values: Values,
): Promise<void> {
  const setup = await costOf(gear, server, setupLoad(seconds))
  note(values, setupWithIdle(idle), setup.cpuUs / setup.done)
  note(values, 'failed', setup.failed)
}
