/**
 * `npm run fuzz`: minutes of mutated inputs for every parser that strangers, or careless hands, can reach. Prints its seed
 * and how to repeat a run; what fails is kept in `test/fuzz/regressions/`, which the test-suite replays.
 */
import { createHash } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { fuzz } from './fuzz.ts'
import { TARGETS } from './targets.ts'

const USAGE = 'usage: npm run fuzz -- [--seconds N] [--seed N] [--target NAME]\n'
const REGRESSIONS = new URL('./regressions/', import.meta.url)

async function main(): Promise<number> {
  let values: { seconds: string; seed?: string; target?: string }
  try {
    values = parseArgs({
      options: {
        seconds: { type: 'string', default: '180' },
        seed: { type: 'string' },
        target: { type: 'string' },
      },
    }).values
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n${USAGE}`)
    return 2
  }
  const seconds = Number(values.seconds)
  const seed = Number(values.seed ?? Date.now() % 2 ** 31)
  const targets = TARGETS.filter(({ name }) => values.target === undefined || name === values.target)
  if (!(seconds > 0) || !Number.isInteger(seed) || targets.length === 0) {
    process.stderr.write(`${USAGE}targets: ${TARGETS.map(({ name }) => name).join(' ')}\n`)
    return 2
  }
  process.stdout.write(
    `seed ${seed}; to repeat: npm run fuzz -- --seed ${seed} --seconds ${seconds}\n` +
      'target            inputs  ways of being judged\n',
  )
  let failed = false
  let total = 0
  for (const target of targets) {
    const untilMs = performance.now() + (seconds * 1000) / targets.length
    const report = await fuzz(target, {
      seed,
      enough: () => performance.now() > untilMs,
      onProgress(inputs, verdicts) {
        if (process.stderr.isTTY) process.stderr.write(`\r${target.name} ${inputs} ${verdicts}`)
      },
    })
    if (process.stderr.isTTY) process.stderr.write('\r\x1b[K')
    total += report.inputs
    process.stdout.write(
      `${target.name.padEnd(14)}${String(report.inputs).padStart(10)}${String(report.verdicts).padStart(22)}\n`,
    )
    if (!report.failure) continue
    failed = true
    const { input, error } = report.failure
    const name = `${target.name}.${createHash('sha256').update(input).digest('hex').slice(0, 12)}.bin`
    const file = new URL(name, REGRESSIONS)
    writeFileSync(file, input)
    process.stdout.write(
      `FAILED: ${error.message}\n  input: ${JSON.stringify(input.toString('latin1'))}\n  kept as ${fileURLToPath(file)}\n`,
    )
  }
  process.stdout.write(`${total} inputs, ${failed ? 'something does not hold' : 'everything held'}\n`)
  return failed ? 1 : 0
}

process.exitCode = await main()
