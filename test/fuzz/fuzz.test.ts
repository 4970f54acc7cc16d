/** The short run of the fuzzer; `npm run fuzz` is the long one. Inputs that once failed are replayed first. */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { failureOf, fuzz } from './fuzz.ts'
import type { FuzzTarget } from './target.ts'
import { TARGETS } from './targets.ts'

const REGRESSIONS = new URL('./regressions/', import.meta.url)
const SEED = Number(process.env['SALLYPORT_SEED'] ?? Date.now() % 2 ** 31)
const INPUTS = 4000

describe(`seed ${SEED} (SALLYPORT_SEED repeats it)`, () => {
  test.for(TARGETS)('$name: whatever comes, what has to hold holds', { timeout: 120_000 }, async (target) => {
    const { failure, verdicts } = await fuzz(target, { seed: SEED, enough: (inputs) => inputs >= INPUTS })
    expect(
      failure && { what: failure.error.message, input: failure.input.toString('latin1') },
    ).toBeUndefined()
    // It reaches more than the first check.
    expect(verdicts).toBeGreaterThan(6)
  })
})

test('what once failed holds now', async () => {
  const failures: string[] = []
  for (const file of readdirSync(REGRESSIONS).filter((name) => name.endsWith('.bin'))) {
    const target = TARGETS.find(({ name }) => file.startsWith(`${name}.`))
    if (!target) throw new Error(`${file} belongs to no target`)
    const error = await failureOf(target, readFileSync(new URL(file, REGRESSIONS)))
    if (error) failures.push(`${file}: ${error.message}`)
  }
  expect(failures).toEqual([])
})

describe('the fuzzer itself', () => {
  /** Fails on a rare input that mutation has to find. */
  const broken: FuzzTarget = {
    name: 'broken',
    seeds: [Buffer.from('CONNECT cgr.dev:443')],
    dictionary: [Buffer.from('BUG')],
    check(input) {
      if (input.includes('BUG') && input.includes('::')) throw new Error('found')
      return String(input.includes('BUG'))
    },
  }

  test('finds a defect, makes the input short, and repeats itself by its seed', async () => {
    const runs = await Promise.all(
      [1, 2].map(() => fuzz(broken, { seed: 7, enough: (inputs) => inputs > 50_000 })),
    )
    expect(runs.map(({ failure }) => failure?.error.message)).toEqual(['found', 'found'])
    expect(runs[0]?.inputs).toBe(runs[1]?.inputs)
    expect(runs[0]?.failure?.input).toHaveLength(5)
  })
})
