/** What a refused client gets, byte for byte: the reason phrase is what docker, podman, wget and pip show their user. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Attempt } from '../../src/audit/attempt.ts'
import { parseHostname, type Hostname } from '../../src/policy/hostname.ts'
import { OUTCOMES, outcome, type RefusalCode } from '../../src/policy/reasons.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { formatPhrase, formatReply, MAX_PHRASE_BYTES } from '../../src/proxy/refuse.ts'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { NXDOMAIN, SERVFAIL, SILENCE } from '../support/dns-scripts.ts'
import { connectRequest, openLab, PUBLIC } from '../support/lab.ts'
import { ManualClock, settle } from '../support/manual-clock.ts'
import type { RawClient } from '../support/raw-client.ts'

const ULID = /[0-9A-HJKMNP-TV-Z]{26}/
const R2 = '9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com'
/** The policy of the commented default configuration. */
const PRESET = { presets: ['chainguard-2024-05-14'], allow: [] }
/** The longest name there is: 253 bytes. */
const LONGEST = `${'a'.repeat(63)}.`.repeat(3) + `${'b'.repeat(57)}.dev`

/** Everything the gate says until it closes; it has to close with a FIN. */
async function say(client: RawClient, bytes: string | Buffer): Promise<string> {
  await client.send(bytes)
  const said = (await client.rest()).toString('utf8')
  expect(await client.ended()).toBe('fin')
  return said
}

function phraseOf(reply: string): string {
  return /^HTTP\/1\.1 [0-9]{3} ([^\r]*)\r\n/.exec(reply)?.[1] ?? ''
}

function bodyOf(reply: string): Record<string, unknown> {
  const parsed: unknown = JSON.parse(reply.slice(reply.indexOf('\r\n\r\n') + 4))
  if (typeof parsed !== 'object' || parsed === null) throw new Error('no JSON object')
  return { ...parsed }
}

describe('the reply to a typo', () => {
  test('is this, byte for byte', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const reply = await say(await lab.client(gate), connectRequest('cgr.dv:443'))
    const [record] = await gate.audit.waitForDecisions(1)
    const id = record?.event.id ?? ''
    expect(id).toMatch(new RegExp(`^${ULID.source}$`))
    const body = JSON.stringify({
      error:
        `sallyport denied cgr.dv:443: host_not_allowed: no rule allows this host (did you mean cgr.dev?); ` +
        `correct the name, or have the host added to the policy; id ${id}`,
      code: 'host_not_allowed',
      id,
      hint: 'cgr.dev',
      retry: 'policy',
    })
    expect(reply).toBe(
      [
        `HTTP/1.1 403 sallyport denied cgr.dv:443: host_not_allowed, did you mean cgr.dev? (id ${id})`,
        'Content-Type: application/json',
        `Content-Length: ${Buffer.byteLength(body)}`,
        'Connection: close',
        'Proxy-Status: sallyport; error=http_request_denied; details="host_not_allowed"',
        '',
        body,
      ].join('\r\n'),
    )
    expect(record?.message).toBe('denied cgr.dv:443 host_not_allowed, did you mean cgr.dev?')
    expect(record?.sallyport.hint).toBe('cgr.dev')
  })

  test.for([
    { what: 'one digit wrong', target: `${R2.replace('620', '621')}:443` },
    { what: 'a digit missing', target: `${R2.slice(1)}:443` },
    { what: 'two letters changed places', target: `${R2.replace('cloudflare', 'cluodflare')}:443` },
  ])('names the longest host of the presets whole: $what', async ({ target }) => {
    const lab = await openLab()
    const gate = await lab.gate({ policy: PRESET })
    const reply = await say(await lab.client(gate), connectRequest(target))
    const phrase = phraseOf(reply)
    expect(Buffer.byteLength(phrase)).toBeLessThanOrEqual(200)
    expect(phrase).toContain(`host_not_allowed, did you mean ${R2}? (id `)
    expect(phrase).toMatch(new RegExp(`\\(id ${ULID.source}\\)$`))
    expect(bodyOf(reply)).toMatchObject({ hint: R2, code: 'host_not_allowed', retry: 'policy' })
  })

  test('names the right port of the longest host whole', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ policy: PRESET })
    const reply = await say(await lab.client(gate), connectRequest(`${R2}:8443`))
    const phrase = phraseOf(reply)
    expect(Buffer.byteLength(phrase)).toBeLessThanOrEqual(200)
    expect(phrase).toContain(`port_not_allowed, did you mean ${R2}:443? (id `)
  })
})

describe('the phrase', () => {
  test('of the longest name leaves out its middle, and the body does not', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const reply = await say(await lab.client(gate), connectRequest(`${LONGEST}:443`))
    const phrase = phraseOf(reply)
    expect(Buffer.byteLength(phrase)).toBeLessThanOrEqual(200)
    expect(phrase).toMatch(/^sallyport denied a[a.]*\.\.\.[ab.]*b\.dev: host_not_allowed \(id /)
    expect(bodyOf(reply)['error']).toContain(`${LONGEST}:443`)
  })

  test.for([
    {
      what: 'a typo in the longest name',
      allow: LONGEST,
      target: `${LONGEST.slice(0, -4)}x.dev`.slice(1),
      deny: [],
    },
    {
      what: 'a long name and a talkative owner',
      allow: 'cgr.dev',
      target: LONGEST,
      deny: [{ host: LONGEST, owner: 'the team of \u00dcm\u00efl\u00e4uts '.repeat(20) }],
    },
  ])('stays within 200 bytes for $what', async ({ allow, target, deny }) => {
    const lab = await openLab()
    const gate = await lab.gate({ policy: { allow: [{ host: allow }], deny } })
    const reply = await say(await lab.client(gate), connectRequest(`${target}:443`))
    const phrase = phraseOf(reply)
    expect(phrase).toMatch(/^[\x20-\x7e]+$/)
    expect(phrase).toMatch(new RegExp(`\\(id ${ULID.source}\\)$`))
    expect(Buffer.byteLength(phrase)).toBeLessThanOrEqual(200)
  })

  test('of a target that is no hostname does not name it', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const reply = await say(await lab.client(gate), connectRequest('cgr.dev\u00e9:443', 'cgr.dev'))
    expect(phraseOf(reply)).toMatch(
      new RegExp(`^sallyport denied: malformed_authority, not ascii \\(id ${ULID.source}\\)$`),
    )
    expect(reply).not.toContain('cgr.dev')
  })

  const name = fc
    .array(
      fc.string({ unit: fc.constantFrom(...'abz09'.split('')), minLength: 1, maxLength: 63, size: 'max' }),
      {
        minLength: 1,
        maxLength: 8,
      },
    )
    .map((labels) => hostname(`${labels.join('.').slice(0, 249).replace(/\.$/, '')}.dev`))
  const denied = fc.constantFrom(
    'host_not_allowed',
    'port_not_allowed',
    'rule_denied',
    'rule_expired',
    'address_prohibited',
    'audit_unavailable',
    'connect_unreachable',
  ) satisfies fc.Arbitrary<RefusalCode>
  const reason = fc.oneof(
    fc.constant({}),
    fc.record({
      hint: fc.record({ kind: fc.constantFrom('typo', 'nearby', 'port', 'advice'), value: name }),
    }),
    fc.record({
      detail: fc.string({ unit: fc.constantFrom(...'a b:'.split('')), maxLength: 300, size: 'max' }),
    }),
    fc.record({
      rule: fc.record({
        host: fc.record({ kind: fc.constant('exact' as const), hostname: name }),
        port: fc.constant(undefined),
        ruleset: fc.constant('policy.deny'),
        owner: fc.string({ unit: 'binary', maxLength: 300, size: 'max' }),
      }),
    }),
  )

  test('is at most 200 bytes of printable ASCII with its id whole, whatever the names', () => {
    fc.assert(
      fc.property(name, fc.integer({ min: 1, max: 65_535 }), denied, reason, (host, port, code, more) => {
        const phrase = formatPhrase(attemptAt(host, port), refusal(code, more))
        expect(phrase).toMatch(/^sallyport (?:denied|failed) [\x20-\x7e]*$/)
        expect(phrase.length).toBeLessThanOrEqual(MAX_PHRASE_BYTES)
        expect(phrase).toContain(`: ${code}`)
        expect(phrase.endsWith(`(id ${ID})`)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })
})

describe('every refusal that has a status', () => {
  const TOKENS_OF_RFC_9209 = new Set([
    'dns_timeout',
    'dns_error',
    'destination_not_found',
    'destination_unavailable',
    'destination_ip_prohibited',
    'destination_ip_unroutable',
    'connection_refused',
    'connection_terminated',
    'connection_timeout',
    'connection_limit_reached',
    'tls_protocol_error',
    'http_protocol_error',
    'http_response_timeout',
    'http_request_error',
    'http_request_denied',
    'proxy_internal_response',
    'proxy_internal_error',
    'proxy_configuration_error',
  ])
  const isRefusal = (code: string): code is RefusalCode =>
    Object.entries(OUTCOMES).some(
      ([key, { action }]) => key === code && /^tunnel-(?:denied|failed)$/.test(action),
    )
  const REFUSALS = Object.keys(OUTCOMES)
    .filter(isRefusal)
    .map((code) => ({ code, status: outcome(code).status, proxyError: outcome(code).proxyError }))

  test.for(REFUSALS.filter(({ status }) => status === null))('$code has no HTTP reply', ({ code }) => {
    expect(formatReply(attemptAt('cgr.dev', 443), refusal(code))).toBeUndefined()
  })

  test.for(REFUSALS.filter(({ status }) => status !== null))(
    '$code has its reply',
    ({ code, status, proxyError }) => {
      const bytes = formatReply(attemptAt('cgr.dev', 443), refusal(code))
      expect([400, 403, 405, 407, 408, 431, 502, 503, 504]).toContain(status)
      const reply = bytes?.toString('utf8') ?? ''
      const [head = '', body = ''] = reply.split('\r\n\r\n')
      const lines = head.split('\r\n')
      expect(lines).toEqual([
        expect.stringMatching(
          new RegExp(
            `^HTTP/1\\.1 ${status} sallyport (?:denied|failed) cgr\\.dev:443: ${code} \\(id ${ID}\\)$`,
          ),
        ),
        'Content-Type: application/json',
        `Content-Length: ${Buffer.byteLength(body)}`,
        'Connection: close',
        `Proxy-Status: sallyport; error=${proxyError}; details="${code}"`,
        ...(status === 405 ? ['Allow: CONNECT'] : []),
        ...(status === 407 ? ['Proxy-Authenticate: Basic realm="sallyport", charset="UTF-8"'] : []),
      ])
      expect(TOKENS_OF_RFC_9209).toContain(proxyError)
      expect(bodyOf(reply)).toEqual({
        error: expect.stringContaining(`${code}: `),
        code,
        id: ID,
        retry: expect.stringMatching(/^(?:none|transient|policy)$/),
      })
    },
  )

  test('407, which clients answer with credentials, is for credentials alone', () => {
    const asking = Object.entries(OUTCOMES).filter(([, { status }]) => status === 407)
    expect(asking.map(([code]) => code)).toEqual(['credentials_missing', 'credentials_wrong'])
  })
})

describe('each status, from the gate', () => {
  test.for([
    { status: 400, code: 'malformed_authority', bytes: connectRequest('cgr.dev', 'cgr.dev') },
    { status: 400, code: 'malformed_request', bytes: 'CONNECT cgr.dev:443 HTTP/1.1\r\n\r\n' },
    { status: 403, code: 'ip_literal', bytes: connectRequest('192.0.2.1:443') },
    { status: 405, code: 'method_not_allowed', bytes: 'GET / HTTP/1.1\r\nHost: cgr.dev\r\n\r\n' },
    { status: 431, code: 'head_too_large', bytes: `CONNECT ${'x'.repeat(20_000)}` },
    { status: 502, code: 'dns_nxdomain', bytes: connectRequest('cgr.dev:443'), script: NXDOMAIN },
    { status: 502, code: 'dns_error', bytes: connectRequest('cgr.dev:443'), script: SERVFAIL },
  ])('$status $code', async ({ status, code, bytes, script }) => {
    const lab = await openLab()
    if (script) lab.dns.on('cgr.dev', 'any', script)
    const gate = await lab.gate()
    const reply = await say(await lab.client(gate), bytes)
    expect(wellFormed(reply)).toEqual({ status: status, code: code })
  })

  test('408 head_timeout', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ limits: { headTimeout: '100ms' } })
    const reply = await say(await lab.client(gate), 'CONNECT cgr.dev:443 HTTP/1.1\r\n')
    expect(wellFormed(reply)).toEqual({ status: 408, code: 'head_timeout' })
  })

  test('502 connect_refused', async () => {
    const lab = await openLab()
    lab.wire.failures.set(PUBLIC, 'refused')
    const gate = await lab.gate()
    expect(wellFormed(await say(await lab.client(gate), connectRequest('cgr.dev:443')))).toEqual({
      status: 502,
      code: 'connect_refused',
    })
  })

  test('502 connect_unreachable', async () => {
    const lab = await openLab()
    lab.wire.failures.set(PUBLIC, 'unreachable')
    const gate = await lab.gate()
    expect(wellFormed(await say(await lab.client(gate), connectRequest('cgr.dev:443')))).toEqual({
      status: 502,
      code: 'connect_unreachable',
    })
  })

  test('503 too_many_tunnels, and 503 too_many_connections', async () => {
    const lab = await openLab()
    const gate = await lab.gate({
      policy: { sni: 'off' },
      clients: { maxTunnelsPerClient: 1 },
      limits: { connections: 2 },
    })
    const first = await lab.client(gate)
    await first.send(connectRequest('cgr.dev:443'))
    expect((await first.reply()).status).toBe(200)
    expect(wellFormed(await say(await lab.client(gate), connectRequest('cgr.dev:443')))).toEqual({
      status: 503,
      code: 'too_many_tunnels',
    })

    await until(() => gate.parts.gate.connections === 1, 'the refused connection to close')
    // Another client, so that it has a place of its own.
    const idle = await lab.client(gate, { localAddress: '127.0.0.9' })
    await until(() => gate.parts.gate.connections === 2, 'the idle connection')
    expect(wellFormed(await say(await lab.client(gate), connectRequest('cgr.dev:443')))).toEqual({
      status: 503,
      code: 'too_many_connections',
    })
    idle.destroy()
  })

  test('504 dns_timeout, and 504 connect_timeout', async () => {
    const lab = await openLab()
    const clock = new ManualClock()
    const gate = await lab.gate(
      { dns: { timeout: '10s', tries: 1 }, limits: { dialTimeout: '10s' } },
      { clock },
    )
    lab.dns.on('cgr.dev', 'any', SILENCE)
    const unresolved = await lab.client(gate)
    await unresolved.send(connectRequest('cgr.dev:443'))
    await until(() => lab.dns.queries.length === 2, 'both questions')
    await clock.advance(10_000)
    expect(wellFormed(await say(unresolved, ''))).toEqual({ status: 504, code: 'dns_timeout' })

    lab.wire.failures.set(PUBLIC, 'silence')
    const unanswered = await lab.client(gate)
    await unanswered.send(connectRequest('registry.npmjs.org:443'))
    await until(() => lab.wire.dialled.length === 1, 'the dial')
    await settle()
    await clock.advance(10_000)
    expect(wellFormed(await say(unanswered, ''))).toEqual({ status: 504, code: 'connect_timeout' })
  })

  test('TLS on the plain port: an alert, no HTTP, and a record that says so', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(await clientHello('127.0.0.1.example'))
    // Fatal, unexpected_message (RFC 8446 section 6).
    expect(await client.rest()).toEqual(Buffer.from([21, 3, 1, 0, 2, 2, 10]))
    expect(await client.ended()).toBe('fin')
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record?.event).toMatchObject({ action: 'tunnel-denied', reason: 'tls_on_plain_port' })
    expect(gate.audit.decisions).toHaveLength(1)
  })
})

/** Checks that this is one reply and nothing else: length, close, JSON, one phrase. Says which reply. */
function wellFormed(reply: string): { status: number; code: unknown } {
  const [head = '', ...rest] = reply.split('\r\n\r\n')
  const body = rest.join('\r\n\r\n')
  const [statusLine = '', ...lines] = head.split('\r\n')
  const status = Number(statusLine.slice('HTTP/1.1 '.length, 'HTTP/1.1 '.length + 3))
  const { code } = bodyOf(reply)
  expect(statusLine).toMatch(/^HTTP\/1\.1 [0-9]{3} sallyport (?:denied|failed)(?: [^ ]+:443)?: /)
  expect(statusLine).toContain(`: ${String(code)}`)
  expect(phraseOf(reply)).toMatch(/^[\x20-\x7e]{1,200}$/)
  expect(lines.map((line) => line.slice(0, line.indexOf(':')))).toEqual([
    'Content-Type',
    'Content-Length',
    'Connection',
    'Proxy-Status',
    ...(status === 405 ? ['Allow'] : []),
  ])
  expect(lines).toContain('Content-Type: application/json')
  expect(lines).toContain(`Content-Length: ${Buffer.byteLength(body)}`)
  expect(lines).toContain('Connection: close')
  expect(Object.keys(bodyOf(reply)).filter((key) => key !== 'hint')).toEqual(['error', 'code', 'id', 'retry'])
  return { status, code }
}

function hostname(text: string): Hostname {
  const result = parseHostname(text)
  if (!result.ok) throw new Error(`no hostname: ${text}`)
  return result.hostname
}

const ID = '01JD0000000000000000000000'

function attemptAt(host: string, port: number): Attempt {
  return {
    id: ID,
    client: { address: '127.0.0.1', port: 1 },
    startedMs: 0,
    policyHash: 'sha256:0',
    mode: 'enforce',
    target: { host, port, kind: 'name' },
  }
}
