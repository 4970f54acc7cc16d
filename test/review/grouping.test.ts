/** Groups, filters, and the order of what needs attention. */
import { describe, expect, test } from 'vitest'
import { TimeScale, Bins } from '../../src/review/bins.ts'
import { compileExpected, parseExpected } from '../../src/review/expected.ts'
import type { Filter } from '../../src/review/filter.ts'
import { parseMemory, remember } from '../../src/review/memory.ts'
import { parseMoment } from '../../src/review/moment.ts'
import { toReview } from '../../src/review/report.ts'
import { toCsv, toJson } from '../../src/review/machine.ts'
import { sparkline } from '../../src/review/sparkline.ts'
import { formatTable } from '../../src/review/table.ts'
import { DEFAULT_GROUPING } from '../../src/review/aggregate.ts'
import { deniedLine, openedLine } from '../support/audit-records.ts'
import { aggregated, reviewed } from '../support/review.ts'

const at = (hour: number): string => `2026-11-23T${String(hour).padStart(2, '0')}:00:00.000Z`
const LOG = [
  openedLine({ at: at(1), host: 'cgr.dev' }),
  deniedLine({ at: at(2), host: 'cgr.dv', client: '10.0.0.1', hint: { kind: 'typo', value: 'cgr.dev' } }),
  deniedLine({ at: at(3), host: 'cgr.dv', client: '10.0.0.2', hint: { kind: 'typo', value: 'cgr.dev' } }),
  deniedLine({
    at: at(4),
    host: 'cgr.dev',
    port: 8443,
    reason: 'port_not_allowed',
    client: '10.0.1.1',
    user: 'ci',
  }),
  deniedLine({ at: at(5), host: '169.254.169.254', port: 80, reason: 'ip_literal', client: '10.0.0.1' }),
].join('')

describe('grouping', () => {
  test('by host, port and reason, with count, clients, first, last and hint', () => {
    expect(JSON.parse(toJson(reviewed([LOG]), DEFAULT_GROUPING))).toEqual({
      from: at(1),
      to: at(5),
      records: 5,
      denials: 4,
      groups: [
        {
          host: 'cgr.dv',
          port: 443,
          reason: 'host_not_allowed',
          count: 2,
          clients: 2,
          first: at(2),
          last: at(3),
          hint: 'cgr.dev',
          expected: false,
        },
        expect.objectContaining({ host: '169.254.169.254', port: 80, reason: 'ip_literal' }),
        expect.objectContaining({ host: 'cgr.dev', port: 8443, count: 1, clients: 1, hint: null }),
      ],
    })
  })

  test('the order of inputs and lines does not matter', () => {
    const lines = LOG.split(/(?<=\n)/)
    const backwards = toJson(reviewed(lines.toReversed()), DEFAULT_GROUPING)
    expect(backwards).toBe(toJson(reviewed([LOG]), DEFAULT_GROUPING))
  })

  test('several gates are told apart by service.node.name', () => {
    const inputs = [
      deniedLine({ node: 'pod-a' }),
      deniedLine({ node: 'pod-b' }) + deniedLine({ node: 'pod-b' }),
    ]
    const { groups } = reviewed(inputs, { groupBy: ['host', 'node'] })
    expect(groups.map(({ fields, count }) => [fields.node, fields.reason, count])).toEqual([
      ['pod-b', null, 2],
      ['pod-a', null, 1],
    ])
  })

  test('what does not fit the memory is counted', () => {
    const many = Array.from({ length: 20 }, (_, index) =>
      deniedLine({ host: `h${index}.example`, client: `10.0.0.${index}` }),
    )
    expect(aggregated(many, { limits: { groups: 5, clients: 3 } })).toMatchObject({
      denials: 20,
      ungrouped: 15,
      clientsCut: true,
    })
  })
})

describe('filters', () => {
  const count = (filter: Filter) => reviewed([LOG], { filter }).denials

  test.each([
    ['--client with an address', { clients: ['10.0.0.1'] }, 2],
    ['--client with a block', { clients: ['10.0.0.0/24'] }, 3],
    ['--client with a user', { clients: ['ci'] }, 1],
    ['--host', { hosts: ['CGR.dev'] }, 1],
    ['--host with subdomains', { hosts: ['*.dev'] }, 1],
    ['--reason', { reasons: ['ip_literal'] }, 1],
    ['--since', { since: Date.parse(at(4)) }, 2],
    ['--until', { until: Date.parse(at(2)) }, 1],
    ['several of one kind', { hosts: ['cgr.dv', 'cgr.dev'] }, 3],
    ['several kinds', { hosts: ['cgr.dv'], clients: ['10.0.0.2'] }, 1],
  ])('%s', (_name, filter, denials) => {
    expect(count(filter)).toBe(denials)
  })

  test('records are counted in the time that is looked at', () => {
    expect(reviewed([LOG], { filter: { since: Date.parse(at(3)) } }).records).toBe(3)
  })
})

describe('moments', () => {
  const now = Date.parse('2026-11-23T12:00:00Z')
  test.each([
    ['24h', 'start', '2026-11-22T12:00:00.000Z'],
    ['2w', 'start', '2026-11-09T12:00:00.000Z'],
    ['2026-11-20', 'start', '2026-11-20T00:00:00.000Z'],
    ['2026-11-20', 'end', '2026-11-20T23:59:59.999Z'],
    ['2026-11-20T08:30', 'end', '2026-11-20T08:30:00.000Z'],
    ['2026-11-20T08:30:01+02:00', 'start', '2026-11-20T06:30:01.000Z'],
  ] as const)('%s (%s)', (text, edge, expected) => {
    expect(new Date(parseMoment(text, now, edge) ?? 0).toISOString()).toBe(expected)
  })

  test.each(['', 'yesterday', '2026-02-30', '24', '2026-11-20T25:00', '-1h'])('%j is none', (text) => {
    expect(parseMoment(text, now, 'start')).toBeUndefined()
  })
})

describe('news and what is expected', () => {
  const now = Date.parse('2026-11-24T00:00:00Z')
  const entries = (text: string) => {
    const result = parseExpected(text, 'expected.yaml')
    if (!result.ok) throw new Error(JSON.stringify(result.issues))
    return result.entries
  }
  const never = compileExpected([], now)

  test('what the last review did not show comes first', () => {
    const before = reviewed([LOG])
    const memory = remember(undefined, before.groups, now)
    const more =
      deniedLine({ at: at(6), host: 'brand.new' }) +
      deniedLine({ at: at(7), host: '169.254.169.254', port: 80, reason: 'ip_literal' })
    const review = toReview(aggregated([LOG, more]), { expected: never, memory })
    expect(review.groups.map(({ fields, news }) => [fields.host, news])).toEqual([
      ['brand.new', 'new'],
      ['169.254.169.254', 'again'],
      ['cgr.dv', 'seen'],
      ['cgr.dev', 'seen'],
    ])
  })

  test.each(['+275760-09-13T00:00:00.000Z', '2099-01-01T00:00:00.000Z', '-000001-01-01T00:00:00.000Z'])(
    'a record dated %s does no harm to what is remembered',
    (odd) => {
      const strange = { host: 'odd.example' }
      const before = reviewed([LOG + deniedLine({ ...strange, at: odd })])
      const memory = parseMemory(JSON.stringify(remember(undefined, before.groups, now)))
      expect(Object.keys(memory?.known ?? {})).toHaveLength(4)
      // Seen until now, and no longer.
      const later = deniedLine({ ...strange, at: '2026-11-24T00:00:01.000Z' })
      const review = toReview(aggregated([LOG + later]), { expected: never, memory })
      expect(review.groups.map(({ fields, news }) => [fields.host, news])).toEqual([
        ['odd.example', 'again'],
        ['cgr.dv', 'seen'],
        ['169.254.169.254', 'seen'],
        ['cgr.dev', 'seen'],
      ])
    },
  )

  test('an entry of the memory that cannot be read is let go, the others stay', () => {
    const known = {
      'cgr.dv 443 host_not_allowed': at(23),
      'cgr.dev 8443 port_not_allowed': '+275760-09-13T00:00:00.000Z',
      '169.254.169.254 80 ip_literal': 7,
    }
    const memory = parseMemory(JSON.stringify({ schema: 1, reviewedAt: at(23), known }))
    expect(memory?.known).toEqual({ 'cgr.dv 443 host_not_allowed': at(23) })
    expect(parseMemory('{"schema":1,"known":{}}')).toBeUndefined()
  })

  test('an entry makes a group expected until it expires', () => {
    const written = `
expected:
  - { host: 169.254.169.254, reason: ip_literal, owner: platform, ticket: OPS-1, expires: 2026-11-24 }
  - { host: '*.dv', owner: platform }
  - { host: cgr.dv, reason: host_not_allowed, owner: platform, expires: 2026-11-23 }
`
    const review = toReview(aggregated([LOG]), {
      expected: compileExpected(entries(written), now),
      memory: undefined,
    })
    expect(review.groups.map(({ fields, expectation }) => [fields.host, expectation.kind])).toEqual([
      ['cgr.dev', 'unexpected'],
      ['cgr.dv', 'expected'],
      ['169.254.169.254', 'expected'],
    ])
    expect(review.unexpected).toBe(1)
    const expired = compileExpected(entries('- { host: cgr.dv, owner: x, expires: 2026-11-23 }'), now)
    expect(expired({ host: 'cgr.dv', port: 443, reason: 'host_not_allowed' }).kind).toBe('expired')
  })

  test('every mistake of the file has its place', () => {
    const result = parseExpected(
      "- host: '*'\n  owner: x\n- hots: y\n  owner: ''\n  reason: nope\n",
      'e.yaml',
    )
    expect(result.ok ? [] : result.issues.map(({ line, path }) => [line, path])).toEqual(
      expect.arrayContaining([
        [3, '[1]'],
        [4, '[1].owner'],
        [5, '[1].reason'],
      ]),
    )
    expect(parseExpected("- host: '*'\n  owner: x\n", 'e.yaml').ok).toBe(false)
  })
})

describe('shapes', () => {
  test('bins grow wider and lose nothing', () => {
    const scale = new TimeScale()
    const bins = new Bins(scale)
    for (let hour = 0; hour < 5000; hour += 1) {
      scale.include(hour * 3_600_000)
      bins.add(hour * 3_600_000, 2)
    }
    expect(bins.entries().length).toBeLessThanOrEqual(402)
    expect(bins.entries().reduce((sum, [, count]) => sum + count, 0)).toBe(10_000)
  })

  test('many groups have wider bins, so that all of them together are bounded', () => {
    const scale = new TimeScale(1000)
    const all = Array.from({ length: 300 }, () => new Bins(scale))
    for (let second = 0; second < 100; second += 1) {
      for (const bins of all) {
        scale.include(second * 1000)
        bins.add(second * 1000, 1)
      }
    }
    const entries = all.flatMap((bins) => bins.entries())
    expect(entries.length).toBeLessThanOrEqual(1000)
    expect(entries.reduce((sum, [, count]) => sum + count, 0)).toBe(30_000)
  })

  test('a sparkline shows when', () => {
    const scale = new TimeScale()
    const bins = new Bins(scale)
    scale.include(0)
    scale.include(100_000)
    bins.add(0, 1)
    bins.add(99_000, 8)
    expect(sparkline(bins, 0, 100_000, 4)).toBe('▂  █')
  })

  test('a CSV cell is no formula and has its quotes doubled', () => {
    const csv = toCsv(reviewed([deniedLine({ host: '=cmd|"x",1' })]), DEFAULT_GROUPING)
    expect(csv.split('\r\n')).toEqual([
      'host,port,reason,count,clients,first,last,hint,expected',
      `"'=cmd|""x"",1",443,host_not_allowed,1,1,2026-11-23T12:00:00.000Z,2026-11-23T12:00:00.000Z,,false`,
      '',
    ])
  })

  test.each([' =1', '\n=1', '\t1', '\u00A0@a'])(
    'a CSV cell that begins with %j is no formula either',
    (host) => {
      expect(toCsv(reviewed([deniedLine({ host })]), DEFAULT_GROUPING)).toContain(`'${host}`)
    },
  )

  test('a time beyond the year 9999 is no formula', () => {
    const csv = toCsv(reviewed([deniedLine({ at: '+275760-09-12T00:00:00.000Z' })]), DEFAULT_GROUPING)
    expect(csv).toContain(',+275760-09-12T00:00:00.000Z,')
  })

  test('a host is shown as it is filtered by, backslashes too', () => {
    const [host, other] = ['a\\u{1b}b\\', 'b.example']
    const log = deniedLine({ host }) + deniedLine({ host: other })
    const options = { groupBy: DEFAULT_GROUPING, color: false, limit: 50 }
    const shown = /1 +(\S+) +443/.exec(
      formatTable(reviewed([log], { filter: { hosts: [host] } }), options),
    )?.[1]
    expect(shown).toBe(host)
  })

  test('a table has no terminal control of a log in it, and fits its width', () => {
    const review = reviewed([deniedLine({ host: '\u001B[2Jx\u202Ey' }) + LOG])
    const table = formatTable(review, { groupBy: DEFAULT_GROUPING, color: false, limit: 50, width: 70 })
    expect(table).not.toContain('\u001B')
    expect(table).toContain('\\u{1b}[2Jx\\u{202e}y')
    expect(
      Math.max(
        ...table
          .split('\n')
          .slice(1)
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(70)
    expect(formatTable(review, { groupBy: DEFAULT_GROUPING, color: false, limit: 1 })).toContain('and 3 more')
  })

  test('nothing denied is said in words', () => {
    const review = reviewed([openedLine()])
    expect(formatTable(review, { groupBy: DEFAULT_GROUPING, color: false, limit: 50 })).toBe(
      'Nothing denied in 1 record, 2026-11-23 12:00 to 2026-11-23 12:00 UTC.\n',
    )
  })
})
