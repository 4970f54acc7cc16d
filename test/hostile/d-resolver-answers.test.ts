/**
 * Table D: `cgr.dev` is allowed, and the resolver answers something else than it should. The resolver is a real DNS
 * server; what is dialled is diverted, so no packet leaves the machine whatever the answer is.
 */
import { lookup } from 'node:dns/promises'
import { describe, expect, test } from 'vitest'
import { compilePolicy } from '../../src/index.ts'
import { parseHostPattern } from '../../src/policy/host-pattern.ts'
import { until } from '../support/deadline.ts'
import {
  addresses,
  after,
  chain,
  filledTo64KiB,
  inTurn,
  NODATA,
  NXDOMAIN,
  POINTER_LOOP,
  POINTER_RING,
  raw,
  SERVFAIL,
  SILENCE,
  toAnotherQuestion,
  trickled,
  truncated,
  underWrongId,
  type Script,
} from '../support/dns-scripts.ts'
import { freePort } from '../support/free-port.ts'
import type { TestGate } from '../support/gate.ts'
import { connectRequest, expectServed, expectThrough, openLab, PUBLIC, type Lab } from '../support/lab.ts'
import { ManualClock, settle } from '../support/manual-clock.ts'
import { expectNextServed, expectOneDecision, expectReply, type Verdict } from './verdict.ts'

const PROHIBITED: Verdict = { status: 403, code: 'address_prohibited' }
const DNS_ERROR: Verdict = { status: 502, code: 'dns_error' }
const DNS_TIMEOUT: Verdict = { status: 504, code: 'dns_timeout' }
const ALLOWED: Verdict = { status: 200, code: 'allowed' }
const REQUEST = connectRequest('cgr.dev:443')

const familyOf = (address: string): 'A' | 'AAAA' => (address.includes(':') ? 'AAAA' : 'A')

/** Makes the resolver answer these for cgr.dev, each as a record of its family. */
function answer(lab: Lab, ...list: readonly string[]): void {
  for (const type of ['A', 'AAAA'] as const)
    lab.dns.on('cgr.dev', type, addresses(60, ...list.filter((address) => familyOf(address) === type)))
}

/** The CONNECT is refused with this, nothing is dialled, and the other host is still served. */
async function expectRefusedByAnswer(lab: Lab, gate: TestGate, verdict: Verdict) {
  const client = await lab.client(gate)
  await client.send(REQUEST)
  const { id } = await expectReply(client, verdict)
  const record = await expectOneDecision(gate, verdict, id)
  expect(lab.wire.dialled).toEqual([])
  await expectNextServed(lab, gate, 'registry.npmjs.org')
  return record
}

describe('an address that must not be dialled', () => {
  test.for([
    { id: 'D1', attack: 'private', answers: ['10.0.0.1'] },
    { id: 'D1', attack: 'private', answers: ['172.16.0.1'] },
    { id: 'D1', attack: 'private, the last', answers: ['172.31.255.255'] },
    { id: 'D1', attack: 'private', answers: ['192.168.0.1'] },
    { id: 'D2', attack: 'cloud metadata', answers: ['169.254.169.254'] },
    { id: 'D3', attack: 'shared address space', answers: ['100.64.0.1'] },
    { id: 'D3', attack: 'metadata in shared address space', answers: ['100.100.100.200'] },
    { id: 'D4', attack: 'metadata in protocol assignments', answers: ['192.0.0.192'] },
    { id: 'D4', attack: 'documentation', answers: ['192.0.2.1'] },
    { id: 'D4', attack: 'benchmarking', answers: ['198.18.0.1'] },
    { id: 'D4', attack: 'documentation', answers: ['203.0.113.1'] },
    { id: 'D4', attack: 'loopback', answers: ['127.0.0.1'] },
    { id: 'D4', attack: 'this network', answers: ['0.0.0.0'] },
    { id: 'D4', attack: 'multicast', answers: ['224.0.0.1'] },
    { id: 'D4', attack: 'broadcast', answers: ['255.255.255.255'] },
    { id: 'D5', attack: "Azure's WireServer", answers: ['168.63.129.16'] },
    { id: 'D6', attack: 'loopback', answers: ['::1'] },
    { id: 'D6', attack: 'unspecified', answers: ['::'] },
    { id: 'D6', attack: 'v4-compatible loopback', answers: ['::7f00:1'] },
    { id: 'D7', attack: 'v4-mapped private', answers: ['::ffff:10.0.0.1'] },
    { id: 'D7', attack: 'v4-mapped loopback', answers: ['::ffff:7f00:1'] },
    { id: 'D7', attack: 'v4-mapped, though public', answers: ['::ffff:8.8.8.8'] },
    { id: 'D8', attack: 'NAT64 to metadata', answers: ['64:ff9b::a9fe:a9fe'] },
    { id: 'D8', attack: 'NAT64 to a public address', answers: ['64:ff9b::808:808'] },
    { id: 'D8', attack: 'NAT64, local use', answers: ['64:ff9b:1::a9fe:a9fe'] },
    { id: 'D9', attack: 'Teredo', answers: ['2001:0:4136:e378:8000:63bf:3fff:fdd2'] },
    { id: 'D9', attack: 'benchmarking', answers: ['2001:2::1'] },
    { id: 'D9', attack: '6to4 of a private address', answers: ['2002:a00:1::1'] },
    { id: 'D10', attack: 'unique local', answers: ['fc00::1'] },
    { id: 'D10', attack: 'cloud metadata', answers: ['fd00:ec2::254'] },
    { id: 'D11', attack: 'link local', answers: ['fe80::1'] },
    { id: 'D11', attack: 'multicast', answers: ['ff02::2'] },
    { id: 'D11', attack: 'segment routing', answers: ['5f00::1'] },
    { id: 'D11', attack: 'documentation', answers: ['2001:db8::1'] },
    { id: 'D11', attack: 'documentation', answers: ['3fff::1'] },
    { id: 'D14', attack: 'a private one behind a public one', answers: [PUBLIC, '10.0.0.1'] },
    { id: 'D14', attack: 'a private one before a public one', answers: ['10.0.0.1', PUBLIC] },
    { id: 'D14', attack: 'a private one of the other family', answers: ['fd00::1', PUBLIC] },
    { id: 'D14', attack: 'the same, the families changed', answers: ['2001:4860:4860::8888', '10.0.0.1'] },
  ])('$id $attack: $answers', async ({ answers }) => {
    const lab = await openLab()
    answer(lab, ...answers)
    // The clock stands still, so the slower of the two families is always waited for.
    const gate = await lab.gate(undefined, { clock: new ManualClock() })
    const record = await expectRefusedByAnswer(lab, gate, PROHIBITED)
    expect(record.sallyport.dns?.answers).toHaveLength(answers.length)
  })

  test('D11 link local with a zone, which only a resolver of another kind could say', async () => {
    const lab = await openLab()
    const gate = await lab.gate(undefined, {
      query: (name, type) =>
        Promise.resolve(
          type === 'A'
            ? { kind: 'nodata', code: 'ENODATA' }
            : {
                kind: 'answer',
                addresses: [name === 'cgr.dev' ? 'fe80::1%eth0' : '2001:4860:4860::8888'],
                ttlSeconds: 60,
              },
        ),
    })
    const record = await expectRefusedByAnswer(lab, gate, PROHIBITED)
    expect(record.destination).toEqual({ domain: 'cgr.dev', port: 443 })
  })

  test("D13 this host's own address, though it is a public one", async () => {
    const lab = await openLab()
    answer(lab, '8.8.4.4')
    const gate = await lab.gate(undefined, { ownAddresses: () => new Set(['8.8.4.4']) })
    const record = await expectRefusedByAnswer(lab, gate, PROHIBITED)
    expect(record.destination).toEqual({ domain: 'cgr.dev', port: 443 })
  })

  test.for([
    { what: 'on the address it listens on', listen: '127.0.0.1', answers: ['127.0.0.1'] },
    { what: 'v4-mapped', listen: '127.0.0.1', answers: ['::ffff:127.0.0.1'] },
    { what: 'listening everywhere, by another loopback address', listen: '0.0.0.0', answers: ['127.0.0.2'] },
    { what: 'listening everywhere, by the unspecified address', listen: '0.0.0.0', answers: ['0.0.0.0'] },
  ])('D13 the proxy itself, $what, though loopback is allowed', async ({ listen, answers }) => {
    const lab = await openLab()
    const port = await freePort()
    answer(lab, ...answers)
    const gate = await lab.gate({
      listen: `${listen}:${port}`,
      policy: { allow: [{ host: 'cgr.dev', port }, { host: 'registry.npmjs.org' }] },
      addresses: { allow: ['0.0.0.0/8', '127.0.0.0/8', '::ffff:0:0/96'] },
    })
    const client = await lab.client(gate)
    await client.send(connectRequest(`cgr.dev:${port}`))
    await expectReply(client, PROHIBITED)
    await expectOneDecision(gate, PROHIBITED)
    expect(lab.wire.dialled).toEqual([])
    await expectNextServed(lab, gate, 'registry.npmjs.org')
  })

  test('D20 a static answer of the configuration is guarded like any other', async () => {
    const lab = await openLab()
    const gate = await lab.gate({ dns: { hosts: { 'cgr.dev': ['10.0.0.1'] } } })
    const record = await expectRefusedByAnswer(lab, gate, PROHIBITED)
    expect(record.destination).toEqual({ domain: 'cgr.dev', port: 443 })
  })
})

describe('an address just outside the prohibited ranges', () => {
  test.for([
    { id: 'D12', address: '8.8.8.8' },
    { id: 'D12', address: '9.255.255.255' },
    { id: 'D12', address: '11.0.0.0' },
    { id: 'D12', address: '100.63.255.254' },
    { id: 'D12', address: '100.128.0.0' },
    { id: 'D12', address: '172.15.255.255' },
    { id: 'D12', address: '172.32.0.0' },
    { id: 'D12', address: '128.0.0.1' },
    { id: 'D12', address: '168.63.129.17' },
    { id: 'D12', address: '169.253.255.255' },
    { id: 'D12', address: '223.255.255.255' },
    { id: 'D12', address: '2001:4860:4860::8888' },
    { id: 'D12', address: '2001:200::1' },
    { id: 'D12', address: '3ffe:ffff::1' },
  ])('$id $address is dialled', async ({ address }) => {
    const lab = await openLab()
    answer(lab, address)
    const gate = await lab.gate()
    await expectServed(lab, gate)
    const record = await expectOneDecision(gate, ALLOWED)
    expect(record.destination?.ip).toBe(address)
    expect(lab.wire.dialled).toEqual([{ address, port: 443 }])
    await expectNextServed(lab, gate)
  })
})

const NO_PREFETCH = { prefetch: false }

describe('answers and their time', () => {
  /** A gate whose time moves only when told. */
  async function atRest(lab: Lab, dns: Record<string, unknown> = NO_PREFETCH) {
    const clock = new ManualClock()
    const gate = await lab.gate({ dns }, { clock })
    return { clock, gate }
  }

  test.for([
    { what: 'asked for again', dns: NO_PREFETCH },
    { what: 'asked for ahead of time', dns: { prefetch: true } },
  ])('D15 rebinding: public first, private after the TTL, $what', async ({ dns }) => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', inTurn(addresses(60, PUBLIC), addresses(60, '10.0.0.1')))
    const { clock, gate } = await atRest(lab, dns)
    await expectServed(lab, gate)
    await clock.advance(59_999)
    if (dns.prefetch) await until(() => lab.dns.count('A', 'cgr.dev') === 2, 'the early question')
    else await expectServed(lab, gate)
    const before = lab.wire.dialled.length
    await clock.advance(1)

    const client = await lab.client(gate)
    await client.send(REQUEST)
    await expectReply(client, PROHIBITED)
    expect(gate.audit.decisions.map(({ event }) => event.reason)).toEqual([
      ...Array.from({ length: before }, () => 'allowed'),
      'address_prohibited',
    ])
    expect(lab.wire.dialled).toHaveLength(before)
    expect(lab.dns.count('A', 'cgr.dev')).toBe(2)
  })

  test.for([
    { what: '1: a second', ttl: 1, keptMs: 1000 },
    { what: '2^31-1: as long as maxTtl', ttl: 2 ** 31 - 1, keptMs: 3_600_000 },
  ])('D16 TTL $what, and not a millisecond more', async ({ ttl, keptMs }) => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', inTurn(addresses(ttl, PUBLIC), addresses(ttl, '8.8.4.4')))
    const { clock, gate } = await atRest(lab)
    await expectServed(lab, gate)
    await clock.advance(keptMs - 1)
    await expectServed(lab, gate)
    expect(lab.dns.count('A')).toBe(1)
    await clock.advance(1)
    await expectServed(lab, gate)
    expect(lab.dns.count('A')).toBe(2)
    expect(lab.wire.dialled.map(({ address }) => address)).toEqual([PUBLIC, PUBLIC, '8.8.4.4'])
  })

  test.for([
    { what: '0', ttl: 0 },
    // RFC 2181 section 8: the top bit makes it zero.
    { what: '2^31', ttl: 2 ** 31 },
    { what: '2^32-1', ttl: 2 ** 32 - 1 },
  ])('D16 TTL $what: used once, never kept', async ({ ttl }) => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', inTurn(addresses(ttl, PUBLIC), addresses(ttl, '8.8.4.4')))
    const { gate } = await atRest(lab)
    await expectServed(lab, gate)
    await expectServed(lab, gate)
    expect(lab.dns.count('A')).toBe(2)
    expect(lab.wire.dialled.map(({ address }) => address)).toEqual([PUBLIC, '8.8.4.4'])
  })

  test('D16 a chain of CNAMEs lives as long as its shortest link', async () => {
    const lab = await openLab()
    const links = [
      { to: 'edge.example', ttl: 300 },
      { to: 'pop.example', ttl: 2 },
    ]
    lab.dns.on('cgr.dev', 'A', chain(links, 600, PUBLIC))
    const { clock, gate } = await atRest(lab)
    await expectServed(lab, gate)
    expect((await expectOneDecision(gate, ALLOWED)).sallyport.dns?.ttl).toBe(2)
    await clock.advance(1999)
    await expectServed(lab, gate)
    expect(lab.dns.count('A')).toBe(1)
    await clock.advance(1)
    await expectServed(lab, gate)
    expect(lab.dns.count('A')).toBe(2)
  })

  const slow: readonly { what: string; script: Script }[] = [
    { what: 'silence', script: SILENCE },
    { what: 'a byte a second over TCP', script: truncated(trickled(addresses(60, PUBLIC))) },
    { what: 'an empty datagram', script: raw(() => Buffer.alloc(0)) },
    // A guess at the id, and an answer that was not asked for: neither is believed.
    { what: 'an answer under a wrong id', script: underWrongId(addresses(60, PUBLIC)) },
    { what: 'an answer to another question', script: toAnotherQuestion('evil.test', addresses(60, PUBLIC)) },
  ]
  test.for(slow)('D18 $what ends at timeout times tries, not before and not after', async ({ script }) => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'any', script)
    const { clock, gate } = await atRest(lab, { timeout: '10s', tries: 2 })
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await until(() => lab.dns.count('A') + lab.dns.count('AAAA') >= 2, 'both questions')
    await clock.advance(19_999)
    expect(client.received.toString('latin1')).toBe('')
    await clock.advance(1)
    const { id } = await expectReply(client, DNS_TIMEOUT)
    await expectOneDecision(gate, DNS_TIMEOUT, id)
    expect(lab.wire.dialled).toEqual([])
    await expectNextServed(lab, gate, 'registry.npmjs.org')
  })

  test('D18 silence, by the real clock', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'any', SILENCE)
    // The other host is not asked for, so that a slow machine is no silent resolver.
    const dns = { timeout: '100ms', tries: 2, hosts: { 'registry.npmjs.org': [PUBLIC] } }
    const gate = await lab.gate({ dns })
    const record = await expectRefusedByAnswer(lab, gate, DNS_TIMEOUT)
    expect(record.event.action).toBe('tunnel-failed')
  })
})

describe('a resolver that fails', () => {
  test.for<{ id: string; what: string; script: Script; verdict: Verdict }>([
    { id: 'D17', what: 'NXDOMAIN', script: NXDOMAIN, verdict: { status: 502, code: 'dns_nxdomain' } },
    { id: 'D17', what: 'SERVFAIL', script: SERVFAIL, verdict: DNS_ERROR },
    { id: 'D17', what: 'NOERROR without records', script: NODATA, verdict: DNS_ERROR },
    { id: 'D17', what: 'truncated, and SERVFAIL over TCP', script: truncated(SERVFAIL), verdict: DNS_ERROR },
    {
      id: 'D17',
      what: 'truncated, and NXDOMAIN over TCP',
      script: truncated(NXDOMAIN),
      verdict: { status: 502, code: 'dns_nxdomain' },
    },
    { id: 'D19', what: 'a compression pointer to itself', script: POINTER_LOOP, verdict: DNS_ERROR },
    { id: 'D19', what: 'two compression pointers in a ring', script: POINTER_RING, verdict: DNS_ERROR },
    { id: 'D19', what: 'the same over TCP', script: truncated(POINTER_RING), verdict: DNS_ERROR },
    {
      id: 'D19',
      what: 'half a header',
      script: raw(({ bytes }) => bytes.subarray(0, 6)),
      verdict: DNS_ERROR,
    },
  ])('$id $what', async ({ script, verdict }) => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'any', script)
    const gate = await lab.gate()
    const record = await expectRefusedByAnswer(lab, gate, verdict)
    expect(record.event.action).toBe('tunnel-failed')
  })

  test('D17 truncated, and whole over TCP: the answer is used', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', truncated(addresses(60, PUBLIC)))
    const gate = await lab.gate()
    await expectServed(lab, gate)
    await expectOneDecision(gate, ALLOWED)
    const asked = lab.dns.queries.filter(({ type }) => type === 'A').map(({ transport }) => transport)
    expect(asked).toEqual(['udp', 'tcp'])
  })
})

describe('a resolver that says too much', () => {
  const many = Array.from({ length: 300 }, (_, i) => `8.8.${Math.floor(i / 200)}.${(i % 200) + 1}`)

  test.for<{ what: string; script: Script }>([
    { what: '300 addresses over TCP', script: truncated(addresses(60, ...many)) },
    { what: '300 addresses in one datagram', script: addresses(60, ...many) },
    { what: '300 addresses in a reply of 64 KiB', script: truncated(filledTo64KiB(60, ...many)) },
  ])('D19 $what: dials and record are bounded', async ({ script }) => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', script)
    for (const address of many) lab.wire.failures.set(address, 'refused')
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    const refused: Verdict = { status: 502, code: 'connect_refused' }
    await expectReply(client, refused)
    const record = await expectOneDecision(gate, refused)
    expect(lab.wire.dialled.length).toBeGreaterThan(0)
    expect(lab.wire.dialled.length).toBeLessThanOrEqual(64)
    expect(record.sallyport.dns?.answers.length).toBeLessThanOrEqual(16)
    expect(Math.max(...gate.audit.lines.map((line) => line.length))).toBeLessThan(8192)
    await expectNextServed(lab, gate, 'registry.npmjs.org')
  })

  test('D19 a private address behind 299 public ones is never dialled', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', truncated(addresses(60, ...many.slice(0, 299), '10.0.0.1')))
    for (const address of many) lab.wire.failures.set(address, 'refused')
    const gate = await lab.gate()
    const client = await lab.client(gate)
    await client.send(REQUEST)
    await expectReply(client, PROHIBITED)
    expect(lab.wire.dialled).toEqual([])
  })

  test('D19 the largest reply there is', async () => {
    const lab = await openLab()
    lab.dns.on('cgr.dev', 'A', truncated(filledTo64KiB(60, PUBLIC)))
    const gate = await lab.gate()
    await expectServed(lab, gate)
    const record = await expectOneDecision(gate, ALLOWED)
    expect(record.sallyport.dns?.answers).toEqual([PUBLIC])
  })
})

test('D20 the hosts file is not read', async () => {
  const lab = await openLab()
  // The one name that every machine's hosts file has. Configurations refuse it, so the policy is made by hand.
  expect((await lookup('localhost')).address).toMatch(/^(?:127\.0\.0\.1|::1)$/)
  const host = parseHostPattern('localhost', 'deny')
  if (!host.ok) throw new Error('not a hostname')
  const rule = { host: host.pattern, port: 443, ruleset: 'test' }
  const policy = compilePolicy({ mode: 'enforce', allow: [rule], deny: [] })
  lab.dns.on('localhost', 'A', addresses(60, PUBLIC)).on('localhost', 'AAAA', NODATA)
  const gate = await lab.gate(undefined, { adapt: (config) => ({ ...config, policy }) })
  await expectServed(lab, gate, 'localhost')
  const record = await expectOneDecision(gate, ALLOWED)
  expect(record.sallyport.dns).toMatchObject({ answers: [PUBLIC], source: 'miss' })
  expect(lab.dns.queries.map(({ name }) => name)).toEqual(['localhost', 'localhost'])
  expect(lab.wire.dialled).toEqual([{ address: PUBLIC, port: 443 }])
})

test('D21 1,000 CONNECTs at once on a cold cache ask one question of each type', async () => {
  const lab = await openLab()
  const all = Promise.withResolvers<void>()
  lab.dns.on('cgr.dev', 'A', after(all.promise, addresses(60, PUBLIC)))
  lab.dns.on('cgr.dev', 'AAAA', after(all.promise, NODATA))
  const gate = await lab.gate({ policy: { sni: 'off' } })
  const clients = await Promise.all(Array.from({ length: 1000 }, () => lab.client(gate)))
  await Promise.all(clients.map((client) => client.send(REQUEST)))
  await until(() => gate.parts.tunnels.ofClient('127.0.0.1') === 1000, 'every request to arrive')
  await settle()
  all.resolve()

  const replies = await Promise.all(clients.map((client) => client.reply()))
  expect(new Set(replies.map(({ status }) => status))).toEqual(new Set([200]))
  expect(lab.dns.queries.map(({ type }) => type).toSorted()).toEqual(['A', 'AAAA'])
  const decisions = await gate.audit.waitForDecisions(1000)
  expect(decisions.map(({ event }) => event.reason)).toEqual(Array.from({ length: 1000 }, () => 'allowed'))
  expect(new Set(decisions.map(({ event }) => event.id)).size).toBe(1000)

  await Promise.all(
    clients.slice(0, 3).map((client) => expectThrough(client, Buffer.from('after the flood'))),
  )
  for (const client of clients) client.finish()
  await gate.audit.waitForClosings(1000)
  expect(gate.parts.tunnels.size).toBe(0)
  await until(() => gate.parts.gate.connections === 0 && lab.upstream.open === 0, 'every connection to close')
  expect(lab.upstream.connections).toBe(1000)
})
