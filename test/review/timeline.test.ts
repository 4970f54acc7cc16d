/** The chart's figures are the review's. */
import { expect, test } from 'vitest'
import { toHtml } from '../../src/review/html/page.ts'
import { OTHER_REASONS, timelineOf } from '../../src/review/html/timeline.ts'
import { deniedLine, openedLine } from '../support/audit-records.ts'
import { sampleDenials } from '../support/sample-denials.ts'
import { reviewed } from '../support/review.ts'

const CONTEXT = { nowMs: 0, inputs: ['audit.ndjson'], only: [], assets: { style: '', script: '' } }

test('every denial is in one bar', () => {
  const review = reviewed([sampleDenials()])
  const timeline = timelineOf(review)
  const bars = timeline?.series.flatMap(({ counts }) => counts) ?? []
  expect(bars.reduce((sum, count) => sum + count, 0)).toBe(review.denials)
  expect(timeline?.widthMs).toBe(900_000)
  expect(timeline?.starts).toHaveLength(96)
})

test('a few denials in a long time do not make a bar of seconds', () => {
  const log = openedLine({ at: '2026-01-01T00:00:00.000Z' }) + deniedLine({ at: '2026-11-23T12:00:00.000Z' })
  const timeline = timelineOf(reviewed([log]))
  expect(timeline?.starts.length).toBeLessThan(121)
  expect(timeline?.series.map(({ counts }) => counts.at(-1))).toEqual([1])
})

test('more reasons than colours: the rarest share one', () => {
  const reasons = [
    'host_not_allowed',
    'port_not_allowed',
    'ip_literal',
    'rule_denied',
    'rule_expired',
    'client_not_allowed',
    'client_unknown',
  ] as const
  const log = reasons.flatMap((reason, index) =>
    Array.from({ length: 9 - index }, () => deniedLine({ reason })),
  )
  const series = timelineOf(reviewed([log.join('')]))?.series ?? []
  expect(series.map(({ reason }) => reason)).toEqual([...reasons.slice(0, 5), OTHER_REASONS])
  expect(series.at(-1)?.counts).toEqual([7])
})

test('a review without denials is a page that says so', () => {
  const page = toHtml(reviewed([openedLine()]), CONTEXT)
  expect(page).toContain('Nothing denied in 1 record')
  expect(page).not.toContain('id="timeline"')
})

test('what the reader should know stands at the top', () => {
  const page = toHtml(reviewed([`${deniedLine()}{"log":{"lev`]), { ...CONTEXT, only: ['client <10.0.0.1>'] })
  expect(page).toContain('1 line is missing from this review')
  expect(page).toContain('Only a part is shown: client &lt;10.0.0.1&gt;.')
})

test('near misses are slips of the keyboard and of the port, and nothing else that has a hint', () => {
  const lines = [
    deniedLine({ host: 'cgr.dv', hint: { kind: 'typo', value: 'cgr.dev' } }),
    deniedLine({ host: 'cgr.dev', port: 80, hint: { kind: 'port', value: 'cgr.dev:443' } }),
    deniedLine({ host: '169.254.169.254', port: 80, hint: { kind: 'advice', value: 'ask by name' } }),
    deniedLine({ host: 'apk.cgr.dev', hint: { kind: 'preset', value: 'chainguard-2026-10-08' } }),
    deniedLine({ host: 'other.cgr.dev', hint: { kind: 'nearby', value: 'cgr.dev' } }),
  ]
  const [section = ''] =
    /<section aria-labelledby="near-misses">.*?<\/section>/s.exec(toHtml(reviewed(lines), CONTEXT)) ?? []
  expect([...section.matchAll(/scope="row">([^<]*)/g)].map(([, asked]) => asked)).toEqual([
    'cgr.dev:80',
    'cgr.dv:443',
  ])
})

test('an asset that would end its own element is refused', () => {
  const assets = { style: '', script: 'x = "</SCRIPT>"' }
  expect(() => toHtml(reviewed([]), { ...CONTEXT, assets })).toThrow('end its own element')
})
