/**
 * How many tunnels a second a gate sets up with one worker process and with more: `node bench/workers.ts [WORKERS]...`,
 * 1 and as many as there are cores unless said otherwise. Load and origin are on the same cores, and take their part.
 */
import { availableParallelism } from 'node:os'
import { cleanUp, watchForTheEnd } from './clean-up.ts'
import { captureClientHello } from './client-hello.ts'
import { sallyportConfig } from './configs.ts'
import { startOrigin, type Load, type LoadGear } from './load.ts'
import { costOf } from './measure-load.ts'
import { prepareProxies, type Proxy } from './proxies.ts'
import { startServer } from './server.ts'
import { compile, createWorkshop, freePort, ORIGIN_HOST, writeIn } from './workshop.ts'

const ROUNDS = 3
const LOAD: Load = { mode: 'setup', tunnels: 128, seconds: 3, bytes: 1 }
const DESCRIPTORS = 4096

const counts = process.argv.slice(2).map(Number)
const wanted = counts.length > 0 ? counts : [...new Set([1, availableParallelism()])]

watchForTheEnd()
try {
  const folder = createWorkshop()
  const originPort = await freePort()
  const program = compile('load', folder)
  const hello = writeIn(folder, 'client-hello', await captureClientHello(ORIGIN_HOST))
  const gear: LoadGear = { program, hello, origin: await startOrigin(program, originPort) }
  const proxies: Proxy[] = []
  for (const workers of wanted) {
    const [proxy] = await prepareProxies(['kernel'], folder, originPort, DESCRIPTORS)
    if (!proxy) throw new Error('no gate')
    const config = sallyportConfig(
      { folder, port: proxy.port, originPort, descriptors: DESCRIPTORS },
      'kernel',
    )
    const file = writeIn(folder, `workers-${workers}.yaml`, `${config}workers: ${workers}\n`)
    proxies.push({ ...proxy, name: `workers-${workers}`, command: [...proxy.command.slice(0, -1), file] })
  }
  const servers = []
  for (const proxy of proxies) servers.push(await startServer(proxy, folder))
  const rates = proxies.map((): number[] => [])
  const cores = proxies.map((): number[] => [])
  // The first is a warm-up.
  for (let round = 0; round <= ROUNDS; round += 1) {
    for (const [i, server] of servers.entries()) {
      const { done, seconds, cpuUs } = await costOf(gear, server, LOAD)
      if (round === 0) continue
      rates[i]?.push(done / seconds)
      cores[i]?.push(cpuUs / 1e6 / seconds)
    }
  }
  process.stdout.write(
    '| workers | tunnels/s | times | cores that the gate took |\n| ---: | ---: | ---: | ---: |\n',
  )
  const base = median(rates[0])
  for (const [i, workers] of wanted.entries()) {
    const rate = median(rates[i])
    const row = [workers, rate.toFixed(0), (rate / base).toFixed(2), median(cores[i]).toFixed(2)]
    process.stdout.write(`| ${row.join(' | ')} |\n`)
  }
  for (const server of servers) await server.stop()
} finally {
  cleanUp()
}

function median(values: readonly number[] = []): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN
}
