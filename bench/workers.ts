/**
 * How many tunnels a second a gate sets up with one worker process and with more, on each wire: `node bench/workers.ts
 * [--share PART] [WORKERS]...`, 1 and as many as there are cores unless said otherwise. Load and origin are on the same
 * cores, and take their part: where that is most of the machine, `--share 0.2` (which needs root) holds each worker to a
 * fifth of a core, and shows what another one adds where there is a core for it.
 */
import { availableParallelism } from 'node:os'
import { parseArgs } from 'node:util'
import { cleanUp, watchForTheEnd } from './clean-up.ts'
import { captureClientHello } from './client-hello.ts'
import { sallyportConfig } from './configs.ts'
import { startOrigin, type Load, type LoadGear } from './load.ts'
import { costOf } from './measure-load.ts'
import { prepareProxies, type Proxy } from './proxies.ts'
import { startServer } from './server.ts'
import { carriersOf, holdTo } from './share.ts'
import { compile, createWorkshop, freePort, ORIGIN_HOST, writeIn } from './workshop.ts'

const ROUNDS = 3
const LOAD: Load = { mode: 'setup', tunnels: 128, seconds: 3, bytes: 1 }
const DESCRIPTORS = 4096

const { values, positionals } = parseArgs({ options: { share: { type: 'string' } }, allowPositionals: true })
const share = values.share === undefined ? undefined : Number(values.share)
const counts = positionals.map(Number)
const wanted = counts.length > 0 ? counts : [...new Set([1, availableParallelism()])]

const gates = (['kernel', 'portable'] as const).flatMap((wire) =>
  wanted.map((workers) => ({ wire, workers })),
)

watchForTheEnd()
try {
  const folder = createWorkshop()
  const originPort = await freePort()
  const program = compile('load', folder)
  const hello = writeIn(folder, 'client-hello', await captureClientHello(ORIGIN_HOST))
  const gear: LoadGear = { program, hello, origin: await startOrigin(program, originPort) }
  const proxies: Proxy[] = []
  for (const { wire, workers } of gates) {
    const [proxy] = await prepareProxies([wire], folder, originPort, DESCRIPTORS)
    if (!proxy) throw new Error('no gate')
    const config = sallyportConfig({ folder, port: proxy.port, originPort, descriptors: DESCRIPTORS }, wire)
    const name = `${wire}-${workers}`
    const file = writeIn(folder, `${name}.yaml`, `${config}workers: ${workers}\n`)
    proxies.push({ ...proxy, name, command: [...proxy.command.slice(0, -1), file] })
  }
  const servers = []
  for (const proxy of proxies) servers.push(await startServer(proxy, folder))
  const rates = proxies.map((): number[] => [])
  const cores = proxies.map((): number[] => [])
  // The first is a warm-up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [i, server] of servers.entries()) {
      const { done, seconds, cpuUs } = await costOf(gear, server, LOAD)
      if (round === 0) {
        if (share !== undefined) for (const pid of carriersOf(server.pid)) holdTo(share, pid)
        continue
      }
      rates[i]?.push(done / seconds)
      cores[i]?.push(cpuUs / 1e6 / seconds)
    }
  }
  process.stdout.write(
    '| wire | workers | tunnels/s | times | cores that the gate took |\n| --- | ---: | ---: | ---: | ---: |\n',
  )
  let base = Number.NaN
  for (const [i, { wire, workers }] of gates.entries()) {
    const rate = median(rates[i])
    if (workers === wanted[0]) base = rate
    const row = [wire, workers, rate.toFixed(0), (rate / base).toFixed(2), median(cores[i]).toFixed(2)]
    process.stdout.write(`| ${row.join(' | ')} |\n`)
  }
  for (const server of servers) await server.stop()
} finally {
  cleanUp()
}

function median(values: readonly number[] = []): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
