import { globSync, readFileSync } from 'node:fs'
import { stripTypeScriptTypes } from 'node:module'
import { describe, expect, test } from 'vitest'
import { OUTCOMES, type Action, type OutcomeEntry } from '../../src/policy/reasons.ts'
import { ALERTS } from '../../src/tls/alert.ts'
import { outcomeRows, outcomeTable, writtenRows } from '../support/outcome-table.ts'

const ROOT = new URL('../../', import.meta.url)
const entries = Object.entries<OutcomeEntry>(OUTCOMES)
const codes = Object.keys(OUTCOMES)

/** Everything that can happen to an attempt, as the design lists it. */
const DESIGNED = `host_not_allowed port_not_allowed ip_literal rule_denied rule_expired
  malformed_authority malformed_request method_not_allowed host_mismatch tls_on_plain_port head_timeout head_too_large
  client_not_allowed too_many_connections too_many_tunnels draining address_prohibited dns_nxdomain dns_error dns_timeout
  connect_refused connect_unreachable connect_timeout sni_mismatch sni_missing sni_malformed not_tls hello_timeout
  hello_too_large internal_error`.split(/\s+/)

const STATUS_OF: Record<Action, readonly (number | null)[]> = {
  'tunnel-opened': [200],
  'tunnel-denied': [400, 403, 405, 407, 408, 431, 503, null],
  'tunnel-failed': [400, 502, 504, null],
  'tunnel-closed': [null],
}

describe('the registry', () => {
  test.each(DESIGNED)('has %s', (code) => {
    expect(codes).toContain(code)
  })

  test.each(entries)('%s: status, action and words fit together', (code, entry) => {
    expect(code).toMatch(/^[a-z]+(?:_[a-z]+)*$/)
    expect([200, 400, 403, 405, 407, 408, 431, 502, 503, 504, null]).toContain(entry.status)
    // 407 asks for credentials; clients would answer a denial by asking their user for a password.
    expect(entry.status === 407).toBe(code.startsWith('credentials_'))
    expect(entry.status === 200).toBe(entry.action === 'tunnel-opened')
    expect(STATUS_OF[entry.action]).toContain(entry.status)
    // Every refusal with a reply has its Proxy-Status field.
    const replies = entry.status !== null && entry.status !== 200
    expect(entry.proxyError ?? '').toMatch(replies ? /^[a-z_]+$/ : /^/)
  })

  test.each(entries)(
    '%s is said in words that go in the middle of a sentence',
    (_code, { meaning, advice }) => {
      for (const words of [meaning, advice]) {
        expect(words).toMatch(/^\S.*\S$/)
        expect(words).not.toMatch(/\.$|\n/)
        expect(words.length).toBeLessThanOrEqual(120)
      }
      expect(meaning).not.toMatch(/^[A-Z][a-z]/)
      expect(advice).not.toMatch(/^[A-Z][a-z]/)
    },
  )

  test.each(entries.filter(([, { status, action }]) => status === null && action === 'tunnel-denied'))(
    '%s is denied without a reply, so it has an alert',
    (_code, { alert }) => {
      expect(Object.keys(ALERTS)).toContain(alert)
    },
  )

  test.each([
    [
      'what a policy denies',
      'policy',
      (code: string) => /_not_allowed$|^rule_|^ip_literal$|_prohibited$/.test(code),
    ],
    ['what a full proxy denies', 'transient', (code: string) => /^too_many_|^draining$/.test(code)],
    ['what DNS and the network fail', 'transient', (code: string) => /^dns_|^connect_/.test(code)],
    ['what is malformed', 'none', (code: string) => /^malformed_|^host_mismatch$|^head_/.test(code)],
  ])('%s: whether trying again helps is %s', (_what, retry, concerned) => {
    const group = entries.filter(([code]) => concerned(code) && code !== 'method_not_allowed')
    expect(group.length).toBeGreaterThan(2)
    expect(group.map(([code, entry]) => [code, entry.retry])).toEqual(group.map(([code]) => [code, retry]))
  })
})

describe('every code is emitted somewhere', () => {
  const sources = globSync('src/**/*.ts', { cwd: ROOT })
    .filter((file) => !file.endsWith('policy/reasons.ts'))
    // Without types: a code in a union of types is not emitted by it.
    .map((file) => stripTypeScriptTypes(readFileSync(new URL(file, ROOT), 'utf8')))
    .join('\n')

  test.each(codes)('%s', (code) => {
    expect(sources.includes(`'${code}'`), `'${code}' stands in no other source`).toBe(true)
  })
})

test('the table in README.md is the registry', ({ onTestFailed }) => {
  onTestFailed(() => {
    process.stderr.write(
      `README.md needs this between <!-- outcomes:start --> and <!-- outcomes:end -->:\n\n${outcomeTable()}\n\n`,
    )
  })
  expect(writtenRows(readFileSync(new URL('README.md', ROOT), 'utf8'))).toEqual(outcomeRows())
})

test('the reader of the table sees padding, and sees what is missing', () => {
  const table = outcomeTable().replaceAll(' | ', '    |   ')
  const around = (text: string): string =>
    `# x\n<!-- outcomes:start -->\n\n${text}\n\n<!-- outcomes:end -->\n`
  expect(writtenRows(around(table))).toEqual(outcomeRows())
  expect(writtenRows(around(table.split('\n').slice(0, -1).join('\n')))).toHaveLength(codes.length - 1)
  expect(writtenRows(table)).toEqual([])
})
