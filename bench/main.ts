/** `npm run bench`: measures Sallyport and its peers side by side, in turn, in one run. See docs/performance.md. */
import { writeFileSync } from 'node:fs'
import { captureClientHello } from './client-hello.ts'
import { cleanUp, watchForTheEnd } from './clean-up.ts'
import { startOrigin, type LoadGear } from './load.ts'
import { measuresFor } from './measures.ts'
import { HELP, parseOptions, type Options } from './options.ts'
import { descriptorLimit } from './processes.ts'
import { PROXY_NAMES, prepareProxies } from './proxies.ts'
import { formatMachine, formatRatios, formatValues, toJson } from './report.ts'
import { runRounds } from './rounds.ts'
import { describeMachine } from './versions.ts'
import { ORIGIN_HOST, compile, createWorkshop, freePort, writeIn } from './workshop.ts'

async function main(argv: readonly string[]): Promise<number> {
  const options = parseOptions(argv)
  if (options === 'help') {
    process.stdout.write(HELP)
    return 0
  }
  if ('mistake' in options) return complain(`${options.mistake} (see --help)`)
  const unknown = options.only.filter((name) => !PROXY_NAMES.includes(name))
  if (unknown.length > 0) return complain(`no ${unknown.join(', ')}; there are ${PROXY_NAMES.join(', ')}`)
  if (process.platform !== 'linux') return complain('it reads /proc and needs Linux')

  watchForTheEnd()
  const folder = createWorkshop()
  const program = compileLoad(folder)
  if (program === undefined) {
    return complain(
      'it needs a C compiler (cc, or CC=…): load from Node would be the bottleneck; nothing was measured',
    )
  }
  await measure(options, folder, program)
  return 0
}

async function measure(options: Options, folder: string, program: string): Promise<void> {
  const hello = writeIn(folder, 'client-hello', await captureClientHello(ORIGIN_HOST))
  const originPort = await freePort()
  const gear: LoadGear = { program, hello, origin: await startOrigin(program, originPort) }
  const descriptors = descriptorLimit()
  const wanted = PROXY_NAMES.filter((name) => options.only.length === 0 || options.only.includes(name))
  const proxies = await prepareProxies(wanted, folder, originPort, descriptors)
  const idle = affordable(options.idle, descriptors)
  const values = await runRounds(gear, proxies, { ...options, idle }, folder)
  const results = {
    machine: describeMachine(),
    options: { ...options, idle },
    proxies: proxies.filter(({ name }) => values.has(name)),
    measures: measuresFor(idle),
    values,
  }
  process.stdout.write(`${formatMachine(results)}\n${formatValues(results)}\n${formatRatios(results)}`)
  if (options.json !== undefined) writeFileSync(options.json, toJson(results))
}

/** Descriptors besides those of the tunnels. */
const SPARE_DESCRIPTORS = 600

/** The numbers of idle tunnels; what the descriptors do not suffice for, two for each in a proxy, becomes what they do. */
function affordable(counts: readonly number[], descriptors: number): readonly number[] {
  const most = Math.floor((descriptors - SPARE_DESCRIPTORS) / 200) * 100
  for (const count of counts.filter((count) => count > most)) {
    process.stderr.write(
      `bench: ${count} idle tunnels need ${2 * count + SPARE_DESCRIPTORS} descriptors, and the limit is too low: ` +
        `${descriptors} (ulimit -H -n); ${most} instead\n`,
    )
  }
  return [...new Set(counts.map((count) => Math.min(count, most)))]
}

function compileLoad(folder: string): string | undefined {
  try {
    return compile('load', folder)
  } catch {
    return undefined
  }
}

function complain(text: string): number {
  process.stderr.write(`bench: ${text}\n`)
  return 2
}

try {
  process.exitCode = await main(process.argv.slice(2))
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`)
  process.exitCode = 1
} finally {
  cleanUp()
}
