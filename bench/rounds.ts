/** Everything, measured in turn, round after round: what disturbs the machine disturbs all of them. */
import type { LoadGear } from './load.ts'
import { measureIdle } from './measure-idle.ts'
import { measureLoads, warmUp } from './measure-load.ts'
import { note, type Values } from './measures.ts'
import type { Options } from './options.ts'
import { memory } from './proc.ts'
import type { Proxy } from './proxies.ts'
import { startServer, type Server } from './server.ts'

/** The values of each proxy, by name. One that fails is left out from then on, and what failed is said. */
export async function runRounds(
  gear: LoadGear,
  proxies: readonly Proxy[],
  options: Options,
  folder: string,
): Promise<ReadonlyMap<string, Values>> {
  const values = new Map<string, Values>(proxies.map(({ name }) => [name, new Map()]))
  /** Calls `work` for each proxy that has not failed yet. */
  const each = async (step: string, work: (proxy: Proxy, own: Values) => Promise<void>): Promise<void> => {
    for (const proxy of proxies) {
      const own = values.get(proxy.name)
      if (!own) continue
      process.stderr.write(`bench: ${step}: ${proxy.name}\n`)
      try {
        await work(proxy, own)
      } catch (error) {
        process.stderr.write(`bench: ${proxy.name} is left out: ${messageOf(error)}\n`)
        values.delete(proxy.name)
      }
    }
  }

  const running = new Map<Proxy, Server>()
  await each('start', async (proxy) => {
    const server = await startServer(proxy, folder)
    running.set(proxy, server)
    await warmUp(gear, server)
  })
  for (let round = 1; round <= options.rounds; round += 1) {
    await each(`load, round ${round} of ${options.rounds}`, async (proxy, own) => {
      const server = running.get(proxy)
      if (server) await measureLoads(gear, server, options.seconds, own)
    })
  }
  for (const [{ name }, server] of running) {
    const own = values.get(name)
    if (own) note(own, 'rssMiB', memory(server.pid).rss / 2 ** 20)
    await server.stop()
  }
  // Each on a new process, so this is where the start is measured, too.
  for (let round = 1; round <= options.rounds; round += 1) {
    await each(`idle tunnels, round ${round} of ${options.rounds}`, async (proxy, own) => {
      const server = await startServer(proxy, folder)
      note(own, 'readyMs', server.readyMs)
      note(own, 'readyCpuMs', server.readyCpuMs)
      try {
        await measureIdle(gear, server, options.idle, options.seconds, own)
      } finally {
        await server.stop()
      }
    })
  }
  return values
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
