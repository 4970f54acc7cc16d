/** A gate in a process of its own, before a host on loopback that echoes. Dials are real. */
import { expect, onTestFinished } from 'vitest'
import { clientHello } from './client-hello.ts'
import { EchoServer } from './echo-server.ts'
import { GateProcess, type GateProcessOptions } from './gate-process.ts'
import { RawClient } from './raw-client.ts'
import { connectRequest, expectThrough } from './lab.ts'

export interface ProcessLab {
  readonly upstream: EchoServer
  /** Allows `cgr.dev` on the upstream's port, at 127.0.0.1, and nothing else. */
  gate(settings?: Readonly<Record<string, unknown>>, options?: GateProcessOptions): Promise<GateProcess>
  client(gate: GateProcess): Promise<RawClient>
  /** A client behind a 200 and a ClientHello that the host has sent back. */
  tunnel(gate: GateProcess): Promise<RawClient>
  /** The status line of the answer to a CONNECT. */
  ask(gate: GateProcess, target?: string): Promise<string>
  readonly target: string
}

/** Opens a lab for the running test; it is gone with it. */
export async function openProcessLab(): Promise<ProcessLab> {
  const upstream = await EchoServer.start()
  const gates: GateProcess[] = []
  const clients: RawClient[] = []
  onTestFinished(async () => {
    for (const client of clients) client.destroy()
    await Promise.all(gates.map((gate) => gate.dispose()))
    await upstream.close()
  })
  const target = `cgr.dev:${upstream.port}`
  const lab: ProcessLab = {
    upstream,
    target,
    async gate(settings = {}, options = {}) {
      const gate = await GateProcess.start(
        {
          policy: { presets: [], allow: [{ host: 'cgr.dev', port: upstream.port }] },
          dns: { hosts: { 'cgr.dev': ['127.0.0.1'] } },
          addresses: { allow: ['127.0.0.0/8'] },
          ...settings,
        },
        options,
      )
      gates.push(gate)
      return gate
    },
    async client(gate) {
      const client = await RawClient.connect(gate.port)
      clients.push(client)
      return client
    },
    async tunnel(gate) {
      const client = await lab.client(gate)
      await client.send(connectRequest(target))
      expect((await client.reply()).status).toBe(200)
      await expectThrough(client, await clientHello('cgr.dev'))
      return client
    },
    async ask(gate, asked = target) {
      const client = await lab.client(gate)
      await client.send(connectRequest(asked))
      const { statusLine } = await client.reply()
      client.destroy()
      return statusLine
    },
  }
  return lab
}
