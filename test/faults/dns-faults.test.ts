/**
 * A DNS server that is silent, slow, cut short or lying, before a real process on real sockets. All rows run at once
 * through one gate, each with a name of its own, beside a tunnel that is open all the time.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import type { OutcomeCode } from '../../src/policy/reasons.ts'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { DnsServer } from '../support/dns-server.ts'
import {
  addresses,
  after,
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
import { EchoServer } from '../support/echo-server.ts'
import { GateProcess } from '../support/gate-process.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'

const HERE = '127.0.0.1'
const many = Array.from({ length: 300 }, (_, i) => `127.0.${2 + Math.floor(i / 200)}.${(i % 200) + 1}`)
const slowly = (ms: number, script: Script): Script => {
  const later: Script = (query) =>
    after(
      new Promise((resolve) => {
        setTimeout(resolve, ms)
      }),
      script,
    )(query)
  return later
}

interface Row {
  readonly fault: string
  /** For A; AAAA has no records, unless `both`. */
  readonly script: Script
  readonly both?: boolean
  /** How each CONNECT is decided, one after the other. */
  readonly decisions: readonly OutcomeCode[]
  /** Between two CONNECTs: until the first answer has expired. */
  readonly waitMs?: number
}

const ROWS: readonly Row[] = [
  { fault: 'honest', script: addresses(60, HERE), decisions: ['allowed', 'allowed'] },
  { fault: 'silent', script: SILENCE, both: true, decisions: ['dns_timeout'] },
  { fault: 'silent for one family only', script: addresses(60, HERE), decisions: ['allowed'] },
  { fault: 'slow, within its time', script: slowly(400, addresses(60, HERE)), decisions: ['allowed'] },
  {
    fault: 'slow, beyond its time',
    script: slowly(6000, addresses(60, HERE)),
    both: true,
    decisions: ['dns_timeout'],
  },
  {
    fault: 'silent to the first question only',
    script: inTurn(SILENCE, addresses(60, HERE)),
    decisions: ['allowed'],
  },
  { fault: 'truncated, whole over TCP', script: truncated(addresses(60, HERE)), decisions: ['allowed'] },
  { fault: 'truncated, silent over TCP', script: truncated(SILENCE), both: true, decisions: ['dns_timeout'] },
  {
    fault: 'truncated, a byte a second over TCP',
    script: trickled(truncated(addresses(60, HERE))),
    both: true,
    decisions: ['dns_timeout'],
  },
  { fault: 'SERVFAIL', script: SERVFAIL, both: true, decisions: ['dns_error'] },
  { fault: 'NXDOMAIN', script: NXDOMAIN, both: true, decisions: ['dns_nxdomain'] },
  { fault: 'no records', script: NODATA, both: true, decisions: ['dns_error'] },
  { fault: 'a wrong id', script: underWrongId(addresses(60, HERE)), both: true, decisions: ['dns_timeout'] },
  {
    fault: 'an answer to another question',
    script: toAnotherQuestion('evil.test', addresses(60, HERE)),
    both: true,
    decisions: ['dns_timeout'],
  },
  { fault: 'a pointer to itself', script: POINTER_LOOP, both: true, decisions: ['dns_error'] },
  { fault: 'two pointers at each other', script: POINTER_RING, both: true, decisions: ['dns_error'] },
  {
    fault: 'half a header',
    script: raw(({ bytes }) => bytes.subarray(0, 6)),
    both: true,
    decisions: ['dns_error'],
  },
  { fault: '300 records', script: truncated(addresses(60, ...many)), decisions: ['allowed'] },
  { fault: 'a reply of 64 KiB', script: truncated(filledTo64KiB(60, HERE)), decisions: ['allowed'] },
  {
    fault: 'a private address behind 299 others',
    script: truncated(addresses(60, ...many.slice(1), '10.0.0.1')),
    decisions: ['address_prohibited'],
  },
  {
    fault: 'a private address after a public one, when its second is over',
    script: inTurn(addresses(1, HERE), addresses(1, '10.0.0.1')),
    waitMs: 1300,
    decisions: ['allowed', 'address_prohibited'],
  },
  {
    fault: 'a TTL of 0, and a private address next',
    script: inTurn(addresses(0, HERE), addresses(0, '169.254.169.254')),
    decisions: ['allowed', 'address_prohibited'],
  },
]

const nameOf = (index: number): string => `dns${index}.faults.example.com`

describe.runIf(process.platform === 'linux')('a DNS server that is', () => {
  const decided = new Map<string, readonly (string | undefined)[]>()
  const state = {
    baseline: 0,
    left: 0,
    bystander: false,
    alive: false,
    decisions: 0,
    longest: 0,
    code: -1 as unknown,
  }

  beforeAll(async () => {
    const dns = await DnsServer.start()
    // Everywhere, since 300 records name addresses all over 127.0.0.0/8.
    const echo = await EchoServer.start('0.0.0.0')
    dns.on('bystander.example.com', 'A', addresses(3600, HERE)).on('bystander.example.com', 'AAAA', NODATA)
    for (const [index, { script, both }] of ROWS.entries()) {
      dns.on(nameOf(index), 'A', script).on(nameOf(index), 'AAAA', both ? script : NODATA)
    }
    dns.on(nameOf(2), 'AAAA', SILENCE)
    const gate = await GateProcess.start({
      policy: {
        presets: [],
        allow: [
          { host: 'bystander.example.com', port: echo.port },
          ...ROWS.map((_, index) => ({ host: nameOf(index), port: echo.port })),
        ],
      },
      dns: { servers: [dns.address], timeout: '1500ms', tries: 2, prefetch: false },
      addresses: { allow: ['127.0.0.0/8'] },
    })
    const clients: RawClient[] = []
    /** A whole tunnel, or a whole refusal. */
    const connect = async (name: string): Promise<RawClient | undefined> => {
      const client = await RawClient.connect(gate.port)
      clients.push(client)
      await client.send(connectRequest(`${name}:${echo.port}`))
      const { status } = await client.reply()
      if (status !== 200) {
        await client.ended()
        return undefined
      }
      const hello = await clientHello(name)
      await client.send(hello)
      const echoed = await client.bytes(hello.length)
      return echoed.equals(hello) ? client : undefined
    }
    const roundTrip = async (client: RawClient | undefined): Promise<boolean> => {
      const bytes = Buffer.alloc(100_000, 7)
      await client?.send(bytes)
      return (await client?.bytes(bytes.length))?.equals(bytes) ?? false
    }
    try {
      const bystander = await connect('bystander.example.com')
      await until(() => gate.audit.decisions.length === 1, 'the record of the bystander')
      // DNS sockets close a moment after the answer.
      await new Promise((resolve) => {
        setTimeout(resolve, 200)
      })
      state.baseline = gate.sockets()
      await Promise.all(
        ROWS.map(async ({ decisions, waitMs }, index) => {
          for (const turn of decisions.keys()) {
            if (turn > 0 && waitMs !== undefined) {
              await new Promise((resolve) => {
                setTimeout(resolve, waitMs)
              })
            }
            const client = await connect(nameOf(index))
            client?.finish()
            await client?.ended()
          }
        }),
      )
      state.bystander = await roundTrip(bystander)
      await until(() => gate.sockets() <= state.baseline, 'the sockets to close').catch(() => undefined)
      state.left = Math.max(0, gate.sockets() - state.baseline)
      state.alive = gate.alive
      bystander?.finish()
      await bystander?.ended()
      state.code = await gate.stop()
      state.decisions = gate.audit.decisions.length - 1
      state.longest = Math.max(...gate.audit.lines.map((line) => line.length))
      for (const index of ROWS.keys()) {
        const own = gate.audit.decisions.filter(({ destination }) => destination?.domain === nameOf(index))
        decided.set(
          nameOf(index),
          own.map(({ event }) => event.reason),
        )
      }
    } finally {
      for (const client of clients) client.destroy()
      await gate.dispose()
      await Promise.all([dns.close(), echo.close()])
    }
  }, 90_000)

  test.for(ROWS.map((row, index) => ({ ...row, index })))('$fault: $decisions', ({ index, decisions }) => {
    expect(decided.get(nameOf(index))).toEqual(decisions)
  })

  test('afterwards: nothing open, nothing recorded twice, bounded records, the other tunnel as it was', () => {
    expect(state).toMatchObject({ left: 0, bystander: true, alive: true, code: 0 })
    expect(state.decisions).toBe(ROWS.reduce((sum, { decisions }) => sum + decisions.length, 0))
    expect(state.longest).toBeLessThan(8192)
  })
})
