/** `npm run soak`: minutes of load on loopback, a table, a plot, and an exit code. */
import { writeFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import { plotSvg, plotText } from './plot.ts'
import { soak } from './soak.ts'
import { format } from './verdict.ts'

const USAGE =
  'usage: npm run soak -- [--minutes N] [--wire kernel|portable] [--clients N] [--seed N] [--svg FILE]\n'

async function main(): Promise<number> {
  let values: { minutes: string; wire: string; clients: string; seed?: string; svg?: string }
  try {
    values = parseArgs({
      options: {
        minutes: { type: 'string', default: '10' },
        wire: { type: 'string', default: process.platform === 'linux' ? 'kernel' : 'portable' },
        clients: { type: 'string', default: '40' },
        seed: { type: 'string' },
        svg: { type: 'string' },
      },
    }).values
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
    return 2
  }
  const [minutes, clients] = [Number(values.minutes), Number(values.clients)]
  const { wire, svg } = values
  const seed = Number(values.seed ?? Date.now() % 2 ** 31)
  if (
    !(minutes > 0) ||
    !(clients > 0) ||
    !Number.isInteger(seed) ||
    (wire !== 'kernel' && wire !== 'portable')
  ) {
    process.stderr.write(USAGE)
    return 2
  }
  if (process.platform !== 'linux') {
    process.stderr.write('soak: needs Linux: memory and descriptors are read from /proc\n')
    return 2
  }
  process.stdout.write(`soak: ${minutes} min on the ${wire} wire, ${clients} clients, seed ${seed}\n`)
  let said = 0
  const { samples, counts, findings } = await soak({
    seconds: minutes * 60,
    wire,
    clients,
    seed,
    sampleMs: 2000,
    reloadMs: 30_000,
    onSample(sample, { connects }) {
      if (sample.seconds - said < 30) return
      said = sample.seconds
      const now = (['rssBytes', 'heapBytes', 'descriptors', 'timers', 'tunnels'] as const)
        .map((measure) => `${measure} ${format(measure, sample[measure])}`)
        .join(', ')
      process.stderr.write(`${Math.round(sample.seconds)} s: ${connects} CONNECTs, ${now}\n`)
    },
  })
  const { connects, whole, reset, denied, fronted } = counts
  process.stdout.write(
    `${connects} CONNECTs: ${whole} whole tunnels, ${reset} reset, ${denied} denied, ${fronted} for another server name\n\n` +
      `${plotText(samples)}\n\n`,
  )
  for (const { what, well, detail } of findings) {
    process.stdout.write(`${well ? 'well ' : 'FOUND'}  ${what.padEnd(40)} ${detail}\n`)
  }
  if (svg !== undefined) writeFileSync(svg, plotSvg(samples, `sallyport soak, ${wire} wire`))
  const found = findings.filter(({ well }) => !well).length
  process.stdout.write(
    found === 0 ? '\nnothing grows, nothing is left, nothing was lost\n' : `\n${found} findings\n`,
  )
  return found === 0 ? 0 : 1
}

process.exitCode = await main()
