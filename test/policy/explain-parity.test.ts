import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import { explain } from '../../src/cli/explain.ts'
import { loadConfig, type Config } from '../../src/config/load.ts'
import { parseAuthority } from '../../src/policy/authority.ts'
import { decide, type Step } from '../../src/policy/decide.ts'
import { matchesHost } from '../../src/policy/host-pattern.ts'
import { isExpired, type Policy } from '../../src/policy/rules.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { within } from '../support/deadline.ts'
import { startGate } from '../support/gate.ts'
import { NXDOMAIN } from '../support/scripted-query.ts'
import { FUTURE, PAST, target, writtenPolicy, type WrittenPolicy } from './generators.ts'

const presets = readBundledPresets()
const NOW = Date.parse('2026-11-23T00:00:00Z')

function load(policy: WrittenPolicy): Config | undefined {
  const result = loadConfig({ text: JSON.stringify({ policy }), name: 'test.yaml', presets, nowMs: NOW })
  return result.ok ? result.config : undefined
}

/** What the loader refuses (nothing allowed, a rule that can never apply) reaches no gate. */
const loadable = writtenPolicy.filter((policy) => load(policy) !== undefined)
const compiled: fc.Arbitrary<Policy> = loadable.map((policy) => {
  const config = load(policy)
  if (!config) throw new Error('filtered')
  return config.policy
})

/** The question whose answer was no, by the code that follows. */
const QUESTIONS: Record<string, string> = {
  malformed_authority: 'well-formed host:port?',
  ip_literal: 'a host name, not an IP address?',
  rule_denied: 'free of deny rules?',
  host_not_allowed: 'does an allow rule name the host?',
  port_not_allowed: 'on this port?',
  rule_expired: 'in force today?',
}

describe('the decision', () => {
  test('is the same with and without a trace, and its last failed step is the reason', () => {
    fc.assert(
      fc.property(compiled, target, (policy, asked) => {
        const authority = parseAuthority(asked)
        const steps: Step[] = []
        const traced = decide(policy, authority, NOW, (step) => steps.push(step))
        expect(decide(policy, authority, NOW)).toEqual(traced)
        const failed = steps.filter(({ passed }) => !passed)
        const reason =
          traced.kind === 'allow' || traced.kind === 'prove' ? [] : [QUESTIONS[traced.denial.code]]
        expect(failed.map(({ question }) => question)).toEqual(reason)
      }),
      { numRuns: 1500 },
    )
  })

  /** The rules of the documentation, said again without an index, an order or a hint. */
  function model(policy: Policy, asked: string): string {
    const authority = parseAuthority(asked)
    if (authority.kind === 'malformed') return 'malformed_authority'
    if (authority.kind === 'ip') return 'ip_literal'
    const { host, port } = authority
    const denied = policy.deny.some(
      (rule) => matchesHost(rule.host, host) && (rule.port ?? port) === port && !isExpired(rule, NOW),
    )
    if (denied) return 'rule_denied'
    const naming = policy.allow.filter((rule) => matchesHost(rule.host, host))
    if (naming.length === 0) return 'host_not_allowed'
    const onPort = naming.filter((rule) => rule.port === port)
    if (onPort.length === 0) return 'port_not_allowed'
    return onPort.some((rule) => !isExpired(rule, NOW)) ? 'allowed' : 'rule_expired'
  }

  test('is what the rules say when read one by one', () => {
    fc.assert(
      fc.property(compiled, target, (policy, asked) => {
        const decision = decide(policy, parseAuthority(asked), NOW)
        if (decision.kind === 'prove') throw new Error('no policy here verifies addresses')
        const code = decision.kind === 'allow' ? 'allowed' : decision.denial.code
        expect(code).toBe(model(policy, asked))
        const passes = code === 'allowed' || (policy.mode === 'report' && code !== 'malformed_authority')
        expect(decision.kind !== 'deny').toBe(passes)
      }),
      { numRuns: 1500 },
    )
  })
})

const folder = mkdtempSync(join(tmpdir(), 'sallyport-parity-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

const explained = z.object({
  target: z.string(),
  decision: z.enum(['allow', 'report', 'deny']),
  code: z.string(),
  rule: z.object({ name: z.string(), ruleset: z.string() }).optional(),
  hint: z.string().optional(),
  malformation: z.string().optional(),
  policy: z.string(),
})

function runExplain(file: string, asked: string): { exit: number; said: z.infer<typeof explained> } {
  let output = ''
  const collect = (chunk: string): boolean => {
    output += chunk
    return true
  }
  const stream: NodeJS.WriteStream = Object.create(process.stdout, {
    write: { value: collect },
    isTTY: { value: false },
  })
  const exit = explain(asked, { config: file, json: true }, { stdout: stream, stderr: stream })
  return { exit, said: explained.parse(JSON.parse(output)) }
}

const reply = z.object({ code: z.string(), hint: z.string().optional() })

/** The status and the body of the answer to one CONNECT on a real socket. */
async function askGate(port: number, asked: string): Promise<{ status: number } & z.infer<typeof reply>> {
  const socket = connect({ port, host: '127.0.0.1' })
  socket.write(`CONNECT ${asked} HTTP/1.1\r\nHost: ${asked}\r\n\r\n`)
  const answer = await within(text(socket), `an answer to CONNECT ${asked}`)
  const [head = '', body = ''] = answer.split('\r\n\r\n')
  return { status: Number(head.split(' ')[1]), ...reply.parse(JSON.parse(body)) }
}

/** What `explain` leads a client, and a reader of the record, to expect of the gate. */
function promised(said: z.infer<typeof explained>): Record<string, unknown> {
  const { decision, code, hint, malformation } = said
  const rule = said.rule && { name: said.rule.name, ruleset: said.rule.ruleset }
  if (decision === 'deny') {
    return { exit: 1, code, status: code === 'malformed_authority' ? 400 : 403, hint, rule, malformation }
  }
  // It goes on to the DNS; an address, in mode report, to the guard.
  const next =
    code === 'ip_literal'
      ? { code: 'address_prohibited', status: 403 }
      : { code: 'dns_nxdomain', status: 502 }
  return { exit: 0, ...next, hint: undefined, rule: decision === 'allow' ? rule : undefined, malformation }
}

test('`explain` says what the gate does', async () => {
  const seen = new Set<string>()
  let runs = 0
  const compare = async (policy: WrittenPolicy, targets: readonly string[]): Promise<void> => {
    const file = join(folder, `${(runs += 1)}.yaml`)
    writeFileSync(file, JSON.stringify({ policy }))
    const gate = await startGate({ policy }, { query: () => Promise.resolve(NXDOMAIN) })
    try {
      for (const [index, asked] of targets.entries()) {
        const { exit, said } = runExplain(file, asked)
        const answer = await askGate(gate.port, asked)
        const record = (await gate.audit.waitForDecisions(index + 1))[index]
        seen.add(`${said.decision} ${said.code}`)
        expect(said.target).toBe(asked)
        expect(record?.event.reason).toBe(answer.code)
        expect(record?.sallyport).toMatchObject({ policy: said.policy, mode: policy.mode })
        const { hint } = answer
        const { rule } = record ?? {}
        const { malformation } = record?.sallyport ?? {}
        expect({ exit, code: answer.code, status: answer.status, hint, rule, malformation }).toEqual(
          promised(said),
        )
      }
      expect(gate.bugs).toEqual([])
    } finally {
      await gate.stop()
    }
  }

  const everyCode: WrittenPolicy = {
    mode: 'enforce',
    presets: ['chainguard-2024-05-14'],
    allow: [
      { host: 'old.example.com', expires: PAST, owner: 'platform' },
      { host: '*.example.org', expires: FUTURE },
    ],
    deny: [{ host: 'dl.enforce.dev' }],
  }
  const targets = [
    'CGR.dev:443',
    'x.example.org:443',
    'cgr.dv:443',
    'apk.cgr.dev:443',
    'cgr.dev:80',
    'dl.enforce.dev:443',
    'old.example.com:443',
    '10.0.0.1:443',
    '[::1]:443',
    'cgr.dev.:443',
  ]
  await fc.assert(fc.asyncProperty(loadable, fc.array(target, { minLength: 1, maxLength: 4 }), compare), {
    numRuns: 30,
    examples: [
      [everyCode, targets],
      [{ ...everyCode, mode: 'report' }, targets],
    ],
    endOnFailure: true,
  })
  const codes = Object.keys(QUESTIONS)
  expect([...seen]).toEqual(
    expect.arrayContaining([
      'allow allowed',
      ...codes.map((code) => `deny ${code}`),
      ...codes.filter((code) => code !== 'malformed_authority').map((code) => `report ${code}`),
    ]),
  )
})
