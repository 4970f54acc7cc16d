/** The chain: each line says the hash of the line before, and nothing that a client sends moves the place of the stamp. */
import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Attempt } from '../../src/audit/attempt.ts'
import { createJournal } from '../../src/audit/journal.ts'
import { GENESIS, Ledger } from '../../src/audit/ledger.ts'
import { STAMP, type AuditEvent } from '../../src/audit/record.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { AuditLog } from '../support/audit-log.ts'
import { ManualClock } from '../support/manual-clock.ts'

const TARGET = { host: 'cgr.dev', port: 443, kind: 'name' } as const

function attempt(more: Partial<Attempt> = {}): Attempt {
  return {
    id: '01JDABCDEFGHJKMNPQRSTVWXYZ',
    client: { address: '127.0.0.1', port: 50_122 },
    startedMs: 0,
    policyHash: `sha256:${'0'.repeat(64)}`,
    mode: 'enforce',
    ...more,
  }
}

function journalOn(log: AuditLog, nodeName = 'test', head?: string) {
  return createJournal({
    sinks: [log],
    clock: new ManualClock(),
    record: 'all',
    onError: 'continue',
    version: '0.0.0',
    nodeName,
    ...(head !== undefined && { head }),
  })
}

/** As `tr -d '\n' | sha256sum` has it, computed apart from the ledger. */
function sha256(line: string): string {
  return `sha256:${createHash('sha256').update(line.replace(/\n$/, ''), 'utf8').digest('hex')}`
}

/** One of every kind; `text` wherever a client can put some. */
function everyKind(text: string): readonly AuditEvent[] {
  const hostile = attempt({
    method: text,
    version: text,
    userAgent: text,
    rawTarget: text,
    tls: { serverName: text, alpn: [text], versions: [text] },
  })
  const named = { ...hostile, target: TARGET }
  return [
    { kind: 'opened', attempt: named },
    { kind: 'closed', attempt: named, code: 'completed', bytesUp: 1, bytesDown: 2, durationMs: 3 },
    { kind: 'refused', attempt: hostile, refusal: refusal('malformed_request', { detail: text }) },
    { kind: 'refused', attempt: named, refusal: refusal('dns_error', { detail: text }) },
    {
      kind: 'gate',
      action: 'gate-started',
      message: text,
      policyHash: 'x',
      mode: 'enforce',
      facts: { listen: [text], nested: { sequence: 0 }, sallyport: { prev: '' } },
    },
  ]
}

function expectChained(log: AuditLog, count: number): void {
  expect(log.lines).toHaveLength(count)
  for (const [index, { event, sallyport }] of log.records.entries()) {
    expect(event.sequence).toBe(index + 1)
    expect(sallyport['prev']).toBe(index === 0 ? GENESIS : sha256(log.lines[index - 1] ?? ''))
  }
}

describe('the chain', () => {
  test.each([
    ['plain text', 'docker/28'],
    ['the text that the ledger looks for', STAMP],
    ['the same as the client would have to escape it', JSON.stringify(STAMP)],
    ['the same, escaped twice', JSON.stringify(JSON.stringify(STAMP))],
    ['quotes and braces', '"sequence":0},"sallyport":{"prev":""}}}'],
    ['a backslash before it', `\\${STAMP}`],
    ['unicode', 'é\u2028\u{1f512}\ud800'],
    ['patterns of a replacement', "$& $1 $` $'"],
  ])('holds with %s in every field', (_what, text) => {
    const log = new AuditLog()
    const journal = journalOn(log, text)
    for (const event of everyKind(text)) journal.record(event)
    expectChained(log, 5)
    expect(log.records.map(({ event }) => event.action)).toEqual([
      'tunnel-opened',
      'tunnel-closed',
      'tunnel-denied',
      'tunnel-failed',
      'gate-started',
    ])
    expect(journal.ledger.head).toBe(sha256(log.lines[4] ?? ''))
  })

  test('holds whatever clients send', () => {
    const pieces = fc.constantFrom(
      STAMP,
      '"',
      '\\',
      '{',
      '}',
      ':',
      'sequence',
      '0',
      ',',
      'prev',
      '\n',
      '\u2028',
    )
    const text = fc.array(fc.oneof(pieces, fc.string())).map((parts) => parts.join(''))
    fc.assert(
      fc.property(text, (text) => {
        const log = new AuditLog()
        const journal = journalOn(log, text)
        for (const event of everyKind(text)) journal.record(event)
        expect(log.lines).toHaveLength(5)
        expectChained(log, 5)
      }),
      { numRuns: 200 },
    )
  })

  test('goes on from the head of the former file', () => {
    const former = new AuditLog()
    const first = journalOn(former)
    for (const event of everyKind('a')) first.record(event)
    const log = new AuditLog()
    const [event] = everyKind('b')
    if (event) journalOn(log, 'test', first.ledger.head).record(event)
    expect(log.records[0]?.event.sequence).toBe(1)
    expect(log.records[0]?.sallyport['prev']).toBe(sha256(former.lines[4] ?? ''))
  })

  test('a line that no scribe wrote is refused, and changes nothing', () => {
    const ledger = new Ledger({ sinks: [], onError: 'deny' })
    expect(() => ledger.append('{"event":{"sequence":1},"sallyport":{"prev":""}}\n')).toThrow(/no place/)
    expect(ledger.head).toBe(GENESIS)
  })
})
