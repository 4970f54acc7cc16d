/**
 * The place where the gate is attacked: a DNS server, an upstream, and gates between them, all on loopback, all gone
 * after the test. Dials are diverted to the upstream, so names may resolve to public addresses.
 */
import { expect, onTestFinished } from 'vitest'
import { clientHello } from './client-hello.ts'
import { DnsServer } from './dns-server.ts'
import { addresses, NODATA } from './dns-scripts.ts'
import { DivertedWire } from './diverted-wire.ts'
import { EchoServer } from './echo-server.ts'
import { testWire } from './test-wire.ts'
import { startGate, type TestGate, type TestGateOptions } from './gate.ts'
import { RawClient } from './raw-client.ts'

/** A public address; nothing is ever sent to it. */
export const PUBLIC = '8.8.8.8'

type Section = Readonly<Record<string, unknown>>

/** A configuration file; `policy` and `dns` are laid over the lab's own. */
export interface LabSettings extends Section {
  readonly policy?: Section
  readonly dns?: Section
}

export interface Lab {
  readonly dns: DnsServer
  readonly upstream: EchoServer
  readonly wire: DivertedWire
  /** A gate that allows `cgr.dev` and `registry.npmjs.org` on port 443 and requires SNI, unless told otherwise. */
  gate(settings?: LabSettings, options?: TestGateOptions): Promise<TestGate>
  /** A client of that gate. */
  client(gate: TestGate, options?: { localAddress?: string }): Promise<RawClient>
}

/** Opens a lab for the running test; it closes with it. */
export async function openLab(): Promise<Lab> {
  const dns = await DnsServer.start()
  const upstream = await EchoServer.start()
  const wire = new DivertedWire(await testWire(), upstream.port)
  const gates: TestGate[] = []
  const clients: RawClient[] = []
  onTestFinished(async () => {
    for (const client of clients) client.destroy()
    await Promise.all(gates.map((gate) => gate.stop()))
    await Promise.all([dns.close(), upstream.close()])
    for (const gate of gates) expect(gate.bugs).toEqual([])
  })
  for (const host of ['cgr.dev', 'registry.npmjs.org'])
    dns.on(host, 'A', addresses(60, PUBLIC)).on(host, 'AAAA', NODATA)
  return {
    dns,
    upstream,
    wire,
    async gate(settings = {}, options = {}) {
      const gate = await startGate(
        {
          ...settings,
          policy: { presets: [], allow: ALLOWLIST, ...settings.policy },
          // Long, so that a machine that is busy elsewhere is not taken for a resolver that is silent.
          dns: { servers: [dns.address], timeout: '30s', ...settings.dns },
        },
        { wire, ...options },
      )
      gates.push(gate)
      return gate
    },
    async client(gate, options) {
      const client = await RawClient.connect(gate.port, options)
      clients.push(client)
      return client
    },
  }
}

export const ALLOWLIST = [{ host: 'cgr.dev' }, { host: 'registry.npmjs.org' }]

/** A whole CONNECT whose Host says the same, as an honest client sends it. */
export function connectRequest(target: string, host = target): string {
  return `CONNECT ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`
}

/** Opens a tunnel, sends a real ClientHello through it, gets it back from the upstream, and closes. */
export async function expectServed(lab: Lab, gate: TestGate, host = 'cgr.dev'): Promise<void> {
  const client = await lab.client(gate)
  await client.send(connectRequest(`${host}:443`))
  const reply = await client.reply()
  expect(reply.statusLine).toBe('HTTP/1.1 200 Connection established')
  await expectThrough(client, await clientHello(host))
  client.finish()
  expect(await client.ended()).toBe('fin')
}

/** The bytes go to the upstream and come back as they were. */
export async function expectThrough(client: RawClient, bytes: Buffer): Promise<void> {
  await client.send(bytes)
  expect((await client.bytes(bytes.length)).equals(bytes)).toBe(true)
}
