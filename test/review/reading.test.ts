/** Lines as they come out of files, docker and kubectl: what is a denial, what is another record, what is broken. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { foldedRecord } from '../../src/audit/folded-record.ts'
import { readRecord, type Denial } from '../../src/review/denial.ts'
import { MAX_LINE_BYTES } from '../../src/review/line-splitter.ts'
import type { RefusalCode } from '../../src/policy/reasons.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { attemptOf, deniedLine, lineOf, openedLine } from '../support/audit-records.ts'
import { aggregated, reviewed } from '../support/review.ts'
import { LineSplitter } from '../../src/review/line-splitter.ts'
import { fieldsText } from '../support/record-fields.ts'
import { RecordReader } from '../../src/review/record-reader.ts'

const DENIED = deniedLine({ host: 'cgr.dv', hint: { kind: 'typo', value: 'cgr.dev' } })
const DENIED_JSON: object = JSON.parse(DENIED)
const OPENED = openedLine({ host: 'cgr.dev' })

function denialsIn(text: string): readonly Denial[] {
  const found: Denial[] = []
  const nothing = (): void => undefined
  const splitter = new LineSplitter(
    new RecordReader({
      record: nothing,
      denial: (denial) => found.push(denial),
      wouldDeny: nothing,
      other: nothing,
      bad: (problem) => {
        throw new Error(problem)
      },
    }),
  )
  splitter.push(Buffer.from(text))
  splitter.end()
  return found
}

const codes: readonly RefusalCode[] = [
  'host_not_allowed',
  'port_not_allowed',
  'ip_literal',
  'address_prohibited',
  'malformed_authority',
  'sni_mismatch',
]

describe('reading without JSON', () => {
  test('says what parsing says, whatever clients send', () => {
    fc.assert(
      fc.property(
        fc.record({
          host: fc.oneof(fc.domain(), fc.ipV4(), fc.string()),
          port: fc.integer({ min: 1, max: 65_535 }),
          reason: fc.constantFrom(...codes),
          client: fc.oneof(fc.ipV4(), fc.ipV6()),
          user: fc.string({ minLength: 1 }),
          rule: fc.string({ minLength: 1 }),
          userAgent: fc.oneof(
            fc.string(),
            fc.constant('"hint":"x","reason":"y"},"client":"z","destination":{"domain":"z"'),
          ),
          node: fc.string({ minLength: 1 }),
          at: fc
            .date({ min: new Date(0), max: new Date('2099-12-31'), noInvalidDate: true })
            .map((date) => date.toISOString()),
        }),
        fc.boolean(),
        fc.boolean(),
        (sketch, hasTarget, hasRule) => {
          const attempt = attemptOf(sketch)
          if (!hasRule) delete attempt.clientRule
          if (!hasTarget) {
            delete attempt.target
            attempt.rawTarget = sketch.host
          }
          const line = lineOf({ kind: 'refused', attempt, refusal: refusal(sketch.reason) }, sketch)
          const parsed = readRecord(JSON.parse(line))
          expect(parsed.kind).toBe('denial')
          expect(denialsIn(line)).toEqual(parsed.kind === 'denial' ? [parsed.denial] : [])
        },
      ),
    )
  })

  test('times are read to the millisecond, leap days and century ends too', () => {
    for (const at of ['2024-02-29T23:59:59.999Z', '2100-03-01T00:00:00.000Z', '1999-12-31T23:59:59.001Z'])
      expect(denialsIn(deniedLine({ at }))[0]?.first).toBe(Date.parse(at))
  })
})

test.each([
  '2026-11-31T12:00:00.000Z',
  '2026-02-29T12:00:00.000Z',
  '2100-02-29T12:00:00.000Z',
  '2026-11-30T25:00:00.000Z',
  '2026-11-30T12:60:00.000Z',
  '2026-11-30T12:00:61.000Z',
])('no clock says %s, with JSON or without', (impossible) => {
  const line = DENIED.replace(/(?<="@timestamp":")[^"]*/, impossible)
  expect(aggregated([line])).toMatchObject({ denials: 0, bad: { time: 1 } })
  expect(readRecord(JSON.parse(line))).toEqual({ kind: 'bad', problem: 'time' })
})

describe('lines in other clothes', () => {
  const spaced = JSON.stringify(DENIED_JSON, null, 1).replaceAll('\n', ' ')
  const reordered = JSON.stringify(Object.fromEntries(Object.entries(DENIED_JSON).toReversed()))
  test.each([
    ['kubectl logs --prefix', `[pod/gate-0/sallyport] ${DENIED}`],
    ['kubectl logs --timestamps', `2026-11-23T12:00:00.000000001Z ${DENIED}`],
    ['docker compose logs', `sallyport-1  | ${DENIED}`],
    ['docker compose logs, coloured', `\u001B[36msallyport-1  | \u001B[0m${DENIED}`],
    ['the files of containerd', `2026-11-23T12:00:00.000000001Z stdout F ${DENIED}`],
    ['the files of docker', `${JSON.stringify({ log: DENIED, stream: 'stdout', time: 'x' })}\n`],
    ['syslog', `<134>1 2026-11-23T12:00:00Z host sallyport 7 - - ${DENIED}`],
    ['carriage returns', DENIED.replace('\n', '\r\n')],
    ['no newline at the end', DENIED.trimEnd()],
    ['spaces in the JSON', spaced],
    ['another order of fields', reordered],
  ])('%s', (_name, line) => {
    expect(denialsIn(line)).toMatchObject([
      { host: 'cgr.dv', port: 443, reason: 'host_not_allowed', hint: 'cgr.dev' },
    ])
  })

  test('chunks of any size give the same denials', () => {
    const text = `${DENIED}${OPENED}noise\n${DENIED}`
    for (let chunk = 1; chunk < 40; chunk += 1) {
      const { denials, records, others } = aggregated([text], { chunk })
      expect({ denials, records, others }).toEqual({ denials: 2, records: 3, others: 1 })
    }
  })

  test('a folded record counts for all that it stands for', () => {
    const written = foldedRecord({
      scope: 'host',
      attempt: attemptOf({ host: 'flood.example' }),
      refusal: refusal('host_not_allowed'),
      count: 4711,
      differing: 0,
      firstMs: Date.parse('2026-11-23T11:00:00.000Z'),
      lastMs: Date.parse('2026-11-23T11:00:10.000Z'),
    })
    const folded = DENIED.replace(/"source":.*(?="message")/, `${fieldsText(written).slice(1)},`)
    const { denials, groups } = aggregated([DENIED + folded])
    expect(denials).toBe(4712)
    expect(groups.find(({ fields }) => fields.host === 'flood.example')).toMatchObject({
      count: 4711,
      first: Date.parse('2026-11-23T11:00:00.000Z'),
      last: Date.parse('2026-11-23T11:00:10.000Z'),
    })
  })

  test('an end for a changed server name is a denial, and no other end is', () => {
    const end = (code: 'sni_changed' | 'completed'): string => {
      const attempt = attemptOf({ host: 'cgr.dev' })
      return lineOf({ kind: 'closed', attempt, code, bytesUp: 517, bytesDown: 99, durationMs: 8 })
    }
    const { denials, records, groups } = aggregated([end('completed') + end('sni_changed')])
    expect({ denials, records }).toEqual({ denials: 1, records: 2 })
    expect([...groups].map(({ fields }) => fields.reason)).toEqual(['sni_changed'])
  })

  test('what mode report let through counts only when asked for', () => {
    const line = openedLine({ host: 'new.example' }, 'host_not_allowed')
    expect(aggregated([line])).toMatchObject({ denials: 0, wouldBeDenied: 1, records: 1 })
    expect(aggregated([line], { wouldDeny: true })).toMatchObject({ denials: 1, wouldBeDenied: 1 })
  })
})

describe('bad input is counted, and the rest is read', () => {
  test.each([
    ['half a record', DENIED.slice(0, 300), { cut: 1 }],
    ['the other half', `${DENIED.slice(300).trimEnd()}\n`, { cut: 1 }],
    ['binary', 'PNG\0\u0001\u0002\n', { binary: 1 }],
    ['a newer schema', DENIED.replace('"schema":1', '"schema":2'), { schema: 1 }],
    ['no time', DENIED.replace(/"@timestamp":"[^"]*"/, '"@timestamp":"yesterday"'), { time: 1 }],
    ['a line of 10 MB', `{"log":"${'x'.repeat(10_000_000)}"}\n`, { long: 1 }],
    ['the first letters of a record', '{"log":{"lev\n', { cut: 1 }],
    ['a record as a text in other JSON', `${JSON.stringify({ message: DENIED })}\n`, { wrapped: 1 }],
    [
      'a record as a text in a text',
      `${JSON.stringify({ a: JSON.stringify({ message: DENIED }) })}\n`,
      { wrapped: 1 },
    ],
    [
      'a record as an object in other JSON',
      `${JSON.stringify({ message: DENIED_JSON }, null, 1).replaceAll('\n', ' ')}\n`,
      { wrapped: 1 },
    ],
    ['just too long', `${'x'.repeat(MAX_LINE_BYTES + 1)}\n`, { long: 1 }],
  ])('%s', (_name, text, bad) => {
    const after = text.endsWith('\n') ? DENIED : `\n${DENIED}`
    for (const chunk of [1000, 1_000_000, 20_000_000]) {
      const result = aggregated([text + after], { chunk })
      expect(result.bad).toMatchObject(bad)
      expect(Object.values(result.bad).reduce((a, b) => a + b)).toBe(1)
      expect(result.denials).toBe(1)
    }
  })

  test('what others write is no broken record', () => {
    const pretty = JSON.stringify({ level: 'info', app: 'sallyport', labels: { app: 'sallyport' } }, null, 2)
    const result = aggregated([`${pretty}\n{"message":"sallyport is up"}\n{ not JSON\n{gate} ${DENIED}`])
    expect(result).toMatchObject({ denials: 1, records: 1, others: pretty.split('\n').length + 2 })
    expect(Object.values(result.bad)).toEqual([0, 0, 0, 0, 0, 0])
  })

  test('a record behind one that was cut off is found', () => {
    const result = aggregated([`${DENIED.slice(0, 120)}${DENIED}${DENIED.slice(0, 500)}${DENIED}`])
    expect(result).toMatchObject({ denials: 2, records: 2, bad: { cut: 2 } })
  })

  test('a clock that is set back is told', () => {
    const late = deniedLine({ at: '2026-11-23T12:00:00.000Z' })
    const early = deniedLine({ at: '2026-11-23T11:00:00.000Z' })
    const { aggregate, groups } = reviewed([late + early + late])
    expect(aggregate.clockJumps).toBe(1)
    expect(groups[0]).toMatchObject({ first: Date.parse('2026-11-23T11:00:00.000Z'), count: 3 })
    // Each input has a clock of its own.
    expect(aggregated([late, early]).clockJumps).toBe(0)
  })

  test('whatever stands in a log, it is read to its end', () => {
    const log = Buffer.from(DENIED + OPENED + DENIED)
    fc.assert(
      fc.property(fc.nat(log.length), fc.nat(200), fc.uint8Array({ maxLength: 60 }), (at, gone, bytes) => {
        const damaged = Buffer.concat([
          log.subarray(0, at),
          bytes,
          log.subarray(at + gone),
          Buffer.from(`\n${DENIED}`),
        ])
        const result = aggregated([damaged], { chunk: 97 })
        expect(result.denials).toBeGreaterThanOrEqual(1)
        expect(result.denials).toBeLessThanOrEqual(3)
      }),
    )
  })
})
