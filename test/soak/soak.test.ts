/** The soak in miniature, so that it works when it is needed; and its verdict, on samples that do and do not leak. */
import { describe, expect, test } from 'vitest'
import { plotSvg, plotText } from './plot.ts'
import { soak } from './soak.ts'
import { growth, judgeGrowth, judgeRest, type Sample } from './verdict.ts'

const MIB = 1024 * 1024
const sample = (seconds: number, more: Partial<Sample> = {}): Sample => ({
  seconds,
  rssBytes: 90 * MIB,
  heapBytes: 20 * MIB,
  descriptors: 100,
  handles: 90,
  timers: 60,
  tunnels: 40,
  ...more,
})
const run = (at: (seconds: number) => Partial<Sample>): Sample[] =>
  Array.from({ length: 300 }, (_, i) => sample(i * 2, at(i * 2)))

describe('the verdict', () => {
  test('steady with noise is well', () => {
    const samples = run((s) => ({ rssBytes: (90 + 5 * Math.sin(s)) * MIB, timers: 60 + 20 * Math.cos(s) }))
    expect(judgeGrowth(samples).filter(({ well }) => !well)).toEqual([])
  })

  test('growth while it warms up is well', () => {
    const samples = run((s) => ({ heapBytes: Math.min(20 + s, 100) * MIB }))
    expect(judgeGrowth(samples).filter(({ well }) => !well)).toEqual([])
  })

  test.each([
    ['rssBytes', (s: number) => ({ rssBytes: (90 + s / 10) * MIB })],
    ['heapBytes', (s: number) => ({ heapBytes: (20 + s / 40) * MIB })],
    ['descriptors', (s: number) => ({ descriptors: 100 + s / 10 })],
    ['timers', (s: number) => ({ timers: 60 + s / 10 })],
  ] as const)('a leak is found: %s', (measure, at) => {
    const found = judgeGrowth(run(at)).filter(({ well }) => !well)
    expect(found.map(({ what }) => what)).toEqual([`${measure} under load`])
    expect(growth(run(at), measure)).toBeGreaterThan(0)
  })

  test('what is left at rest is found', () => {
    const before = sample(0, { tunnels: 0, timers: 1, handles: 5 })
    expect(judgeRest(before, before).filter(({ well }) => !well)).toEqual([])
    const after = { ...before, tunnels: 1, timers: 9 }
    const found = judgeRest(before, after).filter(({ well }) => !well)
    expect(found.map(({ what }) => what)).toEqual(['tunnels at rest', 'timers at rest'])
  })

  test('the plots show every sample there is, and none', () => {
    const samples = run((s) => ({ tunnels: s }))
    expect(plotText(samples).split('\n')).toHaveLength(5)
    expect(plotSvg(samples, 'title').match(/<polyline/g)).toHaveLength(5)
    expect(plotSvg([], 'title')).toContain('</svg>')
  })
})

const kernel = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch)
const wires = [
  ...(process.platform === 'linux' ? ['portable' as const] : []),
  ...(kernel ? ['kernel' as const] : []),
]

test.for(wires)('a soak of six seconds on the %s wire', { timeout: 90_000 }, async (wire) => {
  const report = await soak({
    seconds: 6,
    wire,
    clients: 12,
    seed: 1,
    sampleMs: 500,
    reloadMs: 2000,
  })
  expect(report.samples.length).toBeGreaterThan(4)
  expect(report.counts.whole).toBeGreaterThan(20)
  // Growth is for longer runs to say; the rest has to hold in any.
  const found = report.findings.filter(({ well, what }) => !well && !what.endsWith('under load'))
  expect(found).toEqual([])
})
