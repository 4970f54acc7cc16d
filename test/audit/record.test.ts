import { connect } from 'node:net'
import { buffer } from 'node:stream/consumers'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Attempt } from '../../src/audit/attempt.ts'
import { escapeClientText, MAX_CLIENT_TEXT } from '../../src/audit/client-text.ts'
import { createJournal, type Journal } from '../../src/audit/journal.ts'
import { toRecord as makeRecord, type AuditEvent } from '../../src/audit/record.ts'
import { parseAuthority } from '../../src/policy/authority.ts'
import type { RefusalCode } from '../../src/policy/reasons.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { rule } from '../policy/policies.ts'
import { AuditLog } from '../support/audit-log.ts'
import { within } from '../support/deadline.ts'
import { startGate } from '../support/gate.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { fieldsOf } from '../support/record-fields.ts'
import { NXDOMAIN } from '../support/scripted-query.ts'

/** A record with the fields that a reader finds. */
const toRecord = (event: AuditEvent) => {
  const record = makeRecord(event)
  return { level: record.level, message: record.message, fields: fieldsOf(record) }
}

const POLICY = `sha256:${'0'.repeat(64)}`

function attempt(more: Partial<Attempt> = {}): Attempt {
  return {
    id: '01JDABCDEFGHJKMNPQRSTVWXYZ',
    client: { address: '127.0.0.1', port: 50_122 },
    startedMs: 0,
    policyHash: POLICY,
    mode: 'enforce',
    ...more,
  }
}

const asked = { method: 'CONNECT', version: '1.1', userAgent: 'Docker-Client/28.2.2' }
const target = { host: 'cgr.dev', port: 443, kind: 'name' } as const
const allowing = rule('cgr.dev', { ruleset: 'chainguard-2024-05-14', reason: 'Main image registry' })
const dns = { answers: ['203.0.113.7'], ttlSeconds: 60, ageSeconds: 1.5, source: 'hit' } as const

const REFUSALS: readonly (readonly [RefusalCode, string, string])[] = [
  ['host_not_allowed', 'tunnel-denied', 'warn'],
  ['malformed_request', 'tunnel-denied', 'warn'],
  ['sni_mismatch', 'tunnel-denied', 'warn'],
  ['too_many_tunnels', 'tunnel-denied', 'warn'],
  ['draining', 'tunnel-denied', 'warn'],
  ['dns_timeout', 'tunnel-failed', 'warn'],
  ['connect_refused', 'tunnel-failed', 'warn'],
  ['client_gone', 'tunnel-failed', 'warn'],
  ['internal_error', 'tunnel-failed', 'error'],
]

describe('the shape of a record', () => {
  test('a denied tunnel', () => {
    const typo = { host: 'cgr.dv', port: 443, kind: 'name' } as const
    const event: AuditEvent = {
      kind: 'refused',
      attempt: attempt({ ...asked, target: typo, rawTarget: 'cgr.dv:443' }),
      refusal: refusal('host_not_allowed', { hint: { kind: 'typo', value: 'cgr.dev' } }),
    }
    expect(toRecord(event)).toEqual({
      level: 'warn',
      message: 'denied cgr.dv:443 host_not_allowed, did you mean cgr.dev?',
      fields: {
        event: {
          kind: 'event',
          category: ['network'],
          type: ['connection', 'denied'],
          action: 'tunnel-denied',
          outcome: 'success',
          reason: 'host_not_allowed',
          id: '01JDABCDEFGHJKMNPQRSTVWXYZ',
          sequence: 0,
        },
        source: { ip: '127.0.0.1', port: 50_122 },
        destination: { domain: 'cgr.dv', port: 443 },
        http: { request: { method: 'CONNECT' }, version: '1.1' },
        user_agent: { original: 'Docker-Client/28.2.2' },
        sallyport: { prev: '', schema: 1, policy: POLICY, mode: 'enforce', hint: 'cgr.dev' },
      },
    })
  })

  test('an opened tunnel carries its rule, its address, and the evidence of DNS and TLS', () => {
    const opened = attempt({
      ...asked,
      target,
      rule: allowing,
      dns,
      address: '203.0.113.7',
      tries: [{ address: '203.0.113.7', result: 'connected', ms: 12 }],
      tls: { serverName: 'cgr.dev', alpn: ['h2'], versions: ['1.3', '1.2'] },
    })
    expect(toRecord({ kind: 'opened', attempt: opened })).toMatchObject({
      level: 'info',
      message: 'opened cgr.dev:443',
      fields: {
        event: {
          action: 'tunnel-opened',
          type: ['connection', 'start', 'allowed'],
          outcome: 'success',
          reason: 'allowed',
        },
        destination: { domain: 'cgr.dev', ip: '203.0.113.7', port: 443 },
        rule: { name: 'cgr.dev:443', ruleset: 'chainguard-2024-05-14' },
        tls: { client: { server_name: 'cgr.dev' } },
        sallyport: {
          dns: { answers: ['203.0.113.7'], ttl: 60, age: 1.5, source: 'hit' },
          dial: [{ ip: '203.0.113.7', result: 'connected', ms: 12 }],
          tls: { alpn: ['h2'], versions: ['1.3', '1.2'] },
        },
      },
    })
  })

  test('a closed one carries its duration in nanoseconds and the bytes of either side', () => {
    const event: AuditEvent = {
      kind: 'closed',
      attempt: attempt({ target, rule: allowing, address: '203.0.113.7' }),
      code: 'completed',
      bytesUp: 517,
      bytesDown: 4096,
      durationMs: 1234.5,
    }
    expect(toRecord(event)).toMatchObject({
      level: 'info',
      message: 'closed cgr.dev:443 completed, 517 bytes up, 4096 bytes down',
      fields: {
        event: { action: 'tunnel-closed', reason: 'completed', duration: 1_234_500_000 },
        source: { ip: '127.0.0.1', port: 50_122, bytes: 517 },
        destination: { domain: 'cgr.dev', ip: '203.0.113.7', port: 443, bytes: 4096 },
        rule: { name: 'cgr.dev:443' },
      },
    })
  })

  test('a failed one was allowed, and says which rule allowed it', () => {
    const failed = attempt({ target, rule: allowing, dns })
    expect(toRecord({ kind: 'refused', attempt: failed, refusal: refusal('connect_timeout') })).toMatchObject(
      {
        level: 'warn',
        message: 'failed cgr.dev:443 connect_timeout',
        fields: {
          event: { action: 'tunnel-failed', outcome: 'failure', type: ['connection', 'error'] },
          rule: { name: 'cgr.dev:443' },
        },
      },
    )
  })

  test('a deny rule is the rule of the record', () => {
    const denying = rule('cgr.dev:*', { ruleset: 'policy.deny', owner: 'security' })
    const record = toRecord({
      kind: 'refused',
      attempt: attempt({ target }),
      refusal: refusal('rule_denied', { rule: denying }),
    })
    expect(record.message).toBe('denied cgr.dev:443 rule_denied, rule cgr.dev of policy.deny, owner security')
    expect(record.fields).toMatchObject({ rule: { name: 'cgr.dev', ruleset: 'policy.deny' } })
  })

  test.each([
    ['IPv4', '203.0.113.7', '203.0.113.7:443'],
    ['IPv6', '2001:db8::1', '[2001:db8::1]:443'],
  ])('an address as target is an ip, not a domain: %s', (_what, host, shown) => {
    const literal = { host, port: 443, kind: 'ip' } as const
    const record = toRecord({
      kind: 'refused',
      attempt: attempt({ target: literal }),
      refusal: refusal('ip_literal'),
    })
    expect(record.fields['destination']).toEqual({ ip: host, port: 443 })
    expect(record.message).toContain(shown)
  })

  test('a target that could not be read is kept as evidence, and is no destination', () => {
    const event: AuditEvent = {
      kind: 'refused',
      attempt: attempt({ ...asked, rawTarget: 'cgr.dev.:443' }),
      refusal: refusal('malformed_authority', { malformation: 'trailing_dot' }),
    }
    const record = toRecord(event)
    expect(record.message).toBe('denied cgr.dev.:443 malformed_authority, trailing dot')
    expect(record.fields).not.toHaveProperty('destination')
    expect(record.fields['sallyport']).toMatchObject({ target: 'cgr.dev.:443', malformation: 'trailing_dot' })
  })

  test('a client that said nothing readable still has a record', () => {
    const record = toRecord({ kind: 'refused', attempt: attempt(), refusal: refusal('head_timeout') })
    expect(record.message).toBe('denied connection head_timeout')
    expect(record.fields).not.toHaveProperty('http')
  })

  test.each(REFUSALS)('%s is recorded as %s', (code, action, level) => {
    const record = toRecord({ kind: 'refused', attempt: attempt({ target }), refusal: refusal(code) })
    expect(record.fields['event']).toMatchObject({ action, reason: code })
    expect(record.level).toBe(level)
  })

  test('gate events carry the policy in force', () => {
    const record = toRecord({
      kind: 'gate',
      action: 'gate-started',
      message: 'started',
      policyHash: POLICY,
      mode: 'report',
      facts: { listen: ['x'] },
    })
    expect(record).toEqual({
      level: 'info',
      message: 'started',
      fields: {
        event: { kind: 'event', category: ['process'], type: ['info'], action: 'gate-started', sequence: 0 },
        sallyport: { prev: '', schema: 1, policy: POLICY, mode: 'report', listen: ['x'] },
      },
    })
  })
})

describe('mode report', () => {
  const reported = attempt({
    target,
    mode: 'report',
    wouldDeny: refusal('host_not_allowed', { hint: { kind: 'nearby', value: 'a.cgr.dev' } }),
  })

  test('an opened tunnel says what enforce would have denied, as a warning', () => {
    const record = toRecord({ kind: 'opened', attempt: reported })
    expect(record.level).toBe('warn')
    expect(record.message).toBe('opened cgr.dev:443, would deny: host_not_allowed, allowed nearby: a.cgr.dev')
    expect(record.fields['sallyport']).toMatchObject({ would_deny: 'host_not_allowed', hint: 'a.cgr.dev' })
    expect(record.fields).not.toHaveProperty('rule')
  })

  test('so does one that failed on the way: what was asked for is what the review is about', () => {
    const record = toRecord({ kind: 'refused', attempt: reported, refusal: refusal('dns_nxdomain') })
    expect(record.fields['sallyport']).toMatchObject({ would_deny: 'host_not_allowed' })
  })
})

/** Text that does something when it is printed, or when a line of log is split. */
const HOSTILE = [
  ['CRLF', 'a\r\n{"event":{"action":"tunnel-opened"}}'],
  ['a lone LF', 'a\nb'],
  ['ESC', '\x1b[2J\x1b]0;owned\x07'],
  ['the one-byte CSI, U+009B', '\x9b31m'],
  ['a line separator, U+2028', 'a\u2028b\u2029c'],
  ['its UTF-8 bytes', Buffer.from('a\u2028b').toString('latin1')],
  ['right-to-left override', 'a\u202eb'],
  ['a NUL', 'a\0b'],
  ['DEL and backspace', 'a\x7f\b'],
  ['quotes', '"},"x":{"'],
  ['a backslash', '\\" \\n \\u0000'],
  ['percent', '%s%d%n'],
  ['markup', '<script>alert(1)</script>'],
  ['8 KiB', '"\\\x1b'.repeat(2731)],
  ['8 KiB of letters', 'A'.repeat(8192)],
] as const

describe('client text', () => {
  test.each(HOSTILE)('%s becomes printable ASCII, bounded', (_what, text) => {
    const escaped = escapeClientText(text)
    expect(escaped.replace(/…\(\d+ bytes\)$/, '')).toMatch(/^[\x20-\x7e]*$/)
    expect(escaped.length).toBeLessThan(4 * MAX_CLIENT_TEXT + 20)
  })

  test('bytes can be read back out of it, and what is not cut is all there', () => {
    const bytes = fc
      .uint8Array({ maxLength: MAX_CLIENT_TEXT })
      .map((array) => Buffer.from(array).toString('latin1'))
    fc.assert(
      fc.property(bytes, (text) => {
        const back = escapeClientText(text).replace(/\\(?:\\|x([0-9a-f]{2}))/g, (_, hex?: string) =>
          hex === undefined ? '\\' : String.fromCharCode(Number.parseInt(hex, 16)),
        )
        expect(back).toBe(text)
      }),
      { numRuns: 500 },
    )
  })

  test.each([
    ['a'.repeat(MAX_CLIENT_TEXT), 'a'.repeat(MAX_CLIENT_TEXT)],
    ['a'.repeat(MAX_CLIENT_TEXT + 1), `${'a'.repeat(MAX_CLIENT_TEXT)}…(257 bytes)`],
  ])('what is cut says how long it was', (text, escaped) => {
    expect(escapeClientText(text)).toBe(escaped)
  })

  test.each(HOSTILE)('%s in every field makes one short line of JSON', (_what, text) => {
    const hostile = attempt({
      method: text,
      version: '1.1',
      userAgent: text,
      rawTarget: text,
      tls: { alpn: Array.from({ length: 8 }, () => text), versions: ['1.3'] },
    })
    const log = new AuditLog()
    const journal = createJournal({
      sinks: [log],
      clock: new ManualClock(),
      record: 'all',
      onError: 'continue',
      version: '0.0.0',
      nodeName: 'test',
    })
    journal.record({ kind: 'refused', attempt: hostile, refusal: refusal('malformed_request') })
    const [line = ''] = log.lines
    expect(log.lines).toHaveLength(1)
    expect(line.endsWith('}\n')).toBe(true)
    expect(line.length).toBeLessThan(8192)
    expect(line.slice(0, -1)).toMatch(/^[\x20-\x7e…]+$/)
    const [record] = log.records
    expect(record?.event.action).toBe('tunnel-denied')
    expect(record?.sallyport.target).toBe(escapeClientText(text))
    expect(record?.user_agent?.original).toBe(escapeClientText(text))
  })

  test('whatever the text from outside is, the record is JSON and has it as it was', () => {
    const anyText = fc.string({ unit: 'binary', maxLength: 40 })
    const texts = fc.record({
      name: anyText,
      detail: anyText,
      rulesClient: anyText,
      hint: anyText,
      failure: anyText,
    })
    fc.assert(
      fc.property(texts, ({ name, detail, rulesClient, hint, failure }) => {
        const { fields } = toRecord({
          kind: 'refused',
          attempt: attempt({
            ...asked,
            target,
            user: name,
            clientRule: rulesClient,
            tries: [{ address: '198.51.100.1', result: failure, ms: 3 }],
          }),
          refusal: refusal('connect_refused', { detail, hint: { kind: 'advice', value: hint } }),
        })
        expect(fields).toMatchObject({
          user: { name: escapeClientText(name) },
          sallyport: { client: rulesClient, hint, detail, dial: [{ result: failure }] },
        })
      }),
    )
  })

  test('a host with thousands of addresses lists sixteen', () => {
    const answers = Array.from({ length: 4000 }, (_, index) => `198.35.${index >> 8}.${index & 0xff}`)
    const record = toRecord({
      kind: 'opened',
      attempt: attempt({ target, dns: { answers, source: 'miss' } }),
    })
    expect(record.fields['sallyport']).toMatchObject({ dns: { answers: answers.slice(0, 16) } })
    expect(JSON.stringify(record).length).toBeLessThan(4096)
  })
})

describe('lines of the journal', () => {
  const journalWith = (record: 'all' | 'denied'): { log: AuditLog; journal: Journal } => {
    const log = new AuditLog()
    const clock = new ManualClock(Date.parse('2026-11-23T08:51:19.123Z'))
    const options = {
      sinks: [log],
      clock,
      record,
      onError: 'deny',
      version: '1.2.3',
      nodeName: 'gate-1',
    } as const
    return { log, journal: createJournal(options) }
  }
  const opened: AuditEvent = { kind: 'opened', attempt: attempt({ target }) }
  const closed: AuditEvent = {
    ...opened,
    kind: 'closed',
    code: 'completed',
    bytesUp: 0,
    bytesDown: 0,
    durationMs: 1,
  }
  const denied: AuditEvent = {
    kind: 'refused',
    attempt: attempt({ target }),
    refusal: refusal('host_not_allowed'),
  }

  test('carry time, level, version and a sequence without gaps', () => {
    const { log, journal } = journalWith('all')
    for (const event of [opened, denied, closed]) journal.record(event)
    expect(log.records.map(({ event }) => event.sequence)).toEqual([1, 2, 3])
    expect(log.records[1]).toMatchObject({
      '@timestamp': '2026-11-23T08:51:19.123Z',
      ecs: { version: '8.11.0' },
      log: { level: 'warn' },
      service: { name: 'sallyport', version: '1.2.3', node: { name: 'gate-1' } },
    })
  })

  test('`record: denied` leaves out the routine, counts it all the same, and keeps what report lets through', () => {
    const { log, journal } = journalWith('denied')
    const reported: AuditEvent = {
      kind: 'opened',
      attempt: attempt({ target, mode: 'report', wouldDeny: refusal('host_not_allowed') }),
    }
    const over: AuditEvent = { ...closed, attempt: reported.attempt }
    for (const event of [opened, denied, closed, reported, over]) journal.record(event)
    expect(log.records.map(({ event }) => event.action)).toEqual([
      'tunnel-denied',
      'tunnel-opened',
      'tunnel-closed',
    ])
    expect(log.records.map(({ event }) => event.sequence)).toEqual([1, 2, 3])
    expect(journal.totals).toEqual({ opened: 2, forwarded: 0, denied: 1, failed: 0, closed: 2 })
  })

  test('`record: denied` keeps the end that is a denial', () => {
    const { log, journal } = journalWith('denied')
    for (const event of [opened, { ...closed, code: 'sni_changed' } as const]) journal.record(event)
    expect(log.records.map(({ event }) => event.reason)).toEqual(['sni_changed'])
  })
})

describe('secrets never reach a record', () => {
  const SECRET = 'hunter2hunter2'
  const ENCODED = Buffer.from(`user:${SECRET}`).toString('base64')
  const fields = [
    `Proxy-Authorization: Basic ${ENCODED}`,
    `Authorization: Bearer ${SECRET}`,
    `Cookie: session=${SECRET}`,
    `X-Registry-Auth: ${SECRET}`,
  ].join('\r\n')

  test.each([
    ['a denied tunnel', `CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n${fields}\r\n\r\n`],
    ['a failed one', `CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev:443\r\n${fields}\r\n\r\n`],
    ['a malformed target', `CONNECT cgr.dev.:443 HTTP/1.1\r\nHost: cgr.dev\r\n${fields}\r\n\r\n`],
    ['a malformed head', `CONNECT cgr.dev:443 HTTP/1.1\r\n${fields}\r\nX\r\n\r\n`],
    [
      'folded credentials',
      `CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\nProxy-Authorization: Basic\r\n ${ENCODED}\r\n\r\n`,
    ],
    ['another method', `GET https://cgr.dev/ HTTP/1.1\r\nHost: cgr.dev\r\n${fields}\r\n\r\n`],
    [
      '8 KiB of credentials',
      `CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\nProxy-Authorization: Basic ${ENCODED.repeat(300)}\r\n\r\n`,
    ],
    [
      'credentials that are no base64',
      `CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\nProxy-Authorization: ${SECRET}\r\n\r\n`,
    ],
    ['credentials in the target', `CONNECT user:${SECRET}@cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\n\r\n`],
    ['credentials in a URL', `GET http://user:${SECRET}@cgr.dev/ HTTP/1.1\r\nHost: cgr.dev\r\n\r\n`],
  ])('%s', async (_what, request) => {
    const gate = await startGate({}, { query: () => Promise.resolve(NXDOMAIN) })
    try {
      const socket = connect({ port: gate.port, host: '127.0.0.1' })
      socket.write(request)
      const answer = await within(buffer(socket), 'an answer')
      await gate.audit.waitForDecisions(1)
      const told = gate.audit.lines.join('') + answer.toString('latin1')
      expect(gate.audit.decisions).toHaveLength(1)
      expect(told).not.toContain(SECRET)
      expect(told).not.toContain(ENCODED)
      expect(told).not.toMatch(/authorization|cookie/i)
    } finally {
      await gate.stop()
    }
  })

  test('the target with user information is one that the records would show', () => {
    // The rows above would prove nothing if it were refused before it is a target.
    expect(parseAuthority(`user:${SECRET}@cgr.dev:443`)).toEqual({
      kind: 'malformed',
      malformation: 'userinfo',
    })
  })
})
