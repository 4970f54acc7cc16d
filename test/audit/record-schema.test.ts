/** What is recorded, what the shipped schema says and what the document says are the same, for every kind of record. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ajv2020 } from 'ajv/dist/2020.js'
import addFormats from 'ajv-formats'
import { expect, onTestFinished, test } from 'vitest'
import { AUDIT_ACTIONS } from '../../src/audit/actions.ts'
import type { Attempt } from '../../src/audit/attempt.ts'
import { createJournal } from '../../src/audit/journal.ts'
import { OUTCOMES, type CloseCode, type OutcomeCode, type RefusalCode } from '../../src/policy/reasons.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { AuditLog } from '../support/audit-log.ts'
import { until } from '../support/deadline.ts'
import {
  fieldRows,
  fieldsIn,
  fieldsOf,
  readSchema,
  writtenFieldRows,
  type Schema,
} from '../support/field-table.ts'
import { ManualClock } from '../support/manual-clock.ts'
import { openProcessLab } from '../support/process-lab.ts'
import { rule } from '../policy/policies.ts'

const schema = readSchema()
const validate = new Ajv2020({ allErrors: true, strict: true, strictRequired: false, strictTypes: false })
addFormats.default(validate)
validate.addVocabulary(['x-ecs-type', 'x-on', 'x-unit', 'x-wording'])

/** The shipped one lets fields through that a later version adds; nothing here may have one that it does not know. */
function closed(open: Schema): Schema {
  return {
    ...open,
    ...(open.items && { items: closed(open.items) }),
    ...(open.properties && {
      additionalProperties: false,
      properties: Object.fromEntries(
        Object.entries(open.properties).map(([name, inner]) => [name, closed(inner)]),
      ),
    }),
  }
}

interface LooseRecord {
  readonly event: Readonly<Record<string, unknown>>
  readonly sallyport: Readonly<Record<string, unknown>>
}

const isValid = validate.compile(schema)
const isKnown = validate.compile(closed(schema))

/** With everything that an attempt can have. */
function everything(id: string, address = '127.0.0.1'): Attempt {
  return {
    id,
    client: { address, port: 50_122 },
    via: { address: '10.0.0.5', port: 41_820 },
    transparent: true,
    startedMs: 0,
    policyHash: `sha256:${'0'.repeat(64)}`,
    mode: 'report',
    method: 'CONNECT',
    version: '1.1',
    rawTarget: 'cgr.dev:443',
    userAgent: 'Docker-Client/28.2.2',
    user: 'releaser',
    clientRule: 'ci',
    target: { host: 'cgr.dev', port: 443, kind: 'name' },
    rule: rule('cgr.dev', { ruleset: 'chainguard-2024-05-14' }),
    wouldDeny: refusal('host_not_allowed', { hint: { kind: 'typo', value: 'cgr.dev' } }),
    candidate: { decision: 'denied', reason: 'rule_denied', policy: 'sha256:0' },
    dns: { answers: ['203.0.113.7'], ttlSeconds: 60, ageSeconds: 1.5, source: 'hit' },
    address: '203.0.113.7',
    tries: [{ address: '203.0.113.7', result: 'connected', ms: 11.2 }],
    established: true,
    tlsExpected: false,
    tls: { serverName: 'cgr.dev', alpn: ['h2'], versions: ['1.3'] },
  }
}

/** Every outcome, and folded denials, as a scribe writes them. */
function tunnelLines(): readonly string[] {
  const log = new AuditLog()
  const journal = createJournal({
    sinks: [log],
    clock: new ManualClock(),
    record: 'all',
    onError: 'continue',
    version: '0.0.0',
    nodeName: 'test',
    fold: { above: 2, withinMs: 1000 },
  })
  for (const [index, code] of codes.entries()) {
    // Each of another client, so that denials fold by host.
    const attempt = everything(code, `10.0.0.${index}`)
    const { action } = OUTCOMES[code]
    if (action === 'tunnel-opened') journal.record({ kind: 'opened', attempt })
    else if (isClosing(code)) {
      journal.record({ kind: 'closed', attempt, code, bytesUp: 1, bytesDown: 2, durationMs: 3.25 })
    } else if (isRefusal(code)) {
      for (let i = 0; i < 3; i += 1) journal.record({ kind: 'refused', attempt, refusal: refusal(code) })
    }
  }
  const { target: _, ...unread } = everything('unread')
  const malformed = refusal('malformed_authority', { malformation: 'bad_port', detail: 'x' })
  journal.record({ kind: 'refused', attempt: unread, refusal: malformed })
  journal.record({
    kind: 'forwarded',
    attempt: everything('forwarded'),
    code: 'completed',
    status: 200,
    bytesUp: 1,
    bytesDown: 2,
    durationMs: 3.25,
  })
  const address: Attempt = {
    ...everything('address'),
    target: { host: '2001:db8::1', port: 443, kind: 'ip' },
  }
  journal.record({ kind: 'refused', attempt: address, refusal: refusal('ip_literal') })
  journal.flushFolds()
  return log.lines
}

const codes = Object.keys(OUTCOMES).filter((code): code is OutcomeCode => code in OUTCOMES)
const isClosing = (code: OutcomeCode): code is CloseCode => OUTCOMES[code].action === 'tunnel-closed'
const isRefusal = (code: OutcomeCode): code is RefusalCode => /denied|failed/.test(OUTCOMES[code].action)

/** Everything that the program says of itself: a torn file, reloads, a lost worker, rotation, the end. */
async function gateLines(): Promise<readonly string[]> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-schema-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const path = join(folder, 'audit.ndjson')
  writeFileSync(path, '{"an":"earlier line"}\n{"log":{"lev')
  const lab = await openProcessLab()
  let config = ''
  const policy = { presets: [], allow: [{ host: 'cgr.dev', port: lab.upstream.port }] }
  const settings = {
    workers: 2,
    admin: { listen: '127.0.0.1:0' },
    // Without addons there is no kernel wire, and it says why.
    wire: 'auto',
    policy,
    audit: { fold: null, file: { path, maxSize: '64KiB', keep: 1 } },
  }
  const gate = await lab.gate(settings, {
    nodeOptions(file) {
      config = file
      return ['--no-addons']
    },
  })
  const seen = (action: string, count = 1): Promise<void> =>
    until(() => gate.audit.records.filter(({ event }) => event.action === action).length >= count, action)
  const tunnel = await lab.tunnel(gate)

  const written: Record<string, unknown> = JSON.parse(readFileSync(config, 'utf8'))
  const other = { presets: [], allow: [{ host: 'other.example', port: 443 }], deny: [{ host: 'x.example' }] }
  const clients = { rules: [{ name: 'ci', from: ['10.1.0.0/16'] }] }
  writeFileSync(config, JSON.stringify({ ...written, policy: other, clients, workers: 3 }))
  gate.child.kill('SIGHUP')
  await seen('gate-reloaded')
  writeFileSync(config, '{ nonsense')
  gate.child.kill('SIGHUP')
  await seen('gate-reload-failed')

  const children = readFileSync(`/proc/${gate.pid}/task/${gate.pid}/children`, 'utf8').trim().split(' ')
  for (const pid of children) process.kill(Number(pid), 'SIGKILL')
  await seen('worker-replaced', children.length)
  tunnel.destroy()
  for (let round = 0; round < 30; round += 1) {
    await Promise.all(
      Array.from({ length: 10 }, (_, index) => lab.ask(gate, `h${round}-${index}.example:443`)),
    )
  }
  await seen('audit-rotated', 2)
  await gate.stop()
  return gate.audit.lines
}

/** What the program records when a queue was full; filling one takes longer than this test. */
function afterOverflow(gate: readonly string[]): string {
  const record: LooseRecord = JSON.parse(gate.find((line) => line.includes('audit-recovered')) ?? '')
  const { torn: _, ...sallyport } = record.sallyport
  return JSON.stringify({ ...record, sallyport: { ...sallyport, lost: 3, after: sallyport['prev'] } })
}

test('the schema itself is sound, and gives an example for every field that fits it', () => {
  const wrong = [...fieldsOf(schema)].filter(
    ([, field]) => !field['x-on'] || !validate.compile(field)(field.examples?.[0]),
  )
  expect(wrong).toEqual([])
})

test('the document has a row for every field, as the schema says it', () => {
  const markdown = readFileSync(new URL('../../docs/audit-log.md', import.meta.url), 'utf8')
  // `npm run docs:fields` writes it anew.
  expect(writtenFieldRows(markdown)).toEqual(fieldRows(schema))
  const actions = fieldsOf(schema).get('event.action')?.enum ?? []
  for (const action of actions) expect(markdown).toContain(`| \`${action}\``)
})

test('every record fits the schema, and every field, action and outcome of the schema is recorded', async () => {
  const gate = await gateLines()
  const records = [...tunnelLines(), ...gate, afterOverflow(gate)].map((line): LooseRecord =>
    JSON.parse(line),
  )
  for (const record of records) {
    expect(isValid(record), `${JSON.stringify(isValid.errors)}\n${JSON.stringify(record)}`).toBe(true)
    expect(isKnown(record), `${JSON.stringify(isKnown.errors)}\n${JSON.stringify(record)}`).toBe(true)
  }
  // The packet filter needs root and nft; its own tests have the record.
  const recorded = new Set([...records.flatMap((record) => fieldsIn(record)), 'sallyport.firewall'])
  expect([...fieldsOf(schema).keys()].filter((path) => !recorded.has(path))).toEqual([])
  for (const name of ['action', 'reason']) {
    const found = new Set(records.flatMap(({ event }) => event[name] ?? []))
    expect(found).toEqual(new Set(fieldsOf(schema).get(`event.${name}`)?.enum))
  }
  expect(fieldsOf(schema).get('event.reason')?.enum).toEqual(codes)
  expect(new Set(fieldsOf(schema).get('event.action')?.enum)).toEqual(new Set(AUDIT_ACTIONS))
}, 60_000)
