/** An https host on loopback, and a gate that forwards to it; both are gone after the test. */
import type { RequestListener } from 'node:http'
import { createServer, Server } from 'node:https'
import { readFileSync } from 'node:fs'
import {
  createServer as createTlsServer,
  getCACertificates,
  setDefaultCACertificates,
  type TLSSocket,
} from 'node:tls'
import { expect, onTestFinished } from 'vitest'
import { CertificateLab, readPair, type Pair } from './certificate-lab.ts'
import { DivertedWire } from './diverted-wire.ts'
import { startGate, type TestGate } from './gate.ts'
import { RawClient } from './raw-client.ts'
import { testWire } from './test-wire.ts'

/** Certificates of the host, all from one authority but the stranger's, which nobody trusts. */
export interface OriginCertificates {
  readonly right: Pair
  readonly otherName: Pair
  readonly expired: Pair
  readonly untrusted: Pair
  remove(): void
}

/** Makes them, and has this process trust their authority, as NODE_EXTRA_CA_CERTS would. */
export function originCertificates(): OriginCertificates {
  const lab = new CertificateLab()
  const ca = lab.authority('Origin CA')
  setDefaultCACertificates([...getCACertificates('default'), readFileSync(ca.cert, 'utf8')])
  return {
    right: lab.issue(ca, 'origin', 'DNS:cgr.dev'),
    otherName: lab.issue(ca, 'other', 'DNS:registry.npmjs.org'),
    expired: lab.issue(ca, 'old', 'DNS:cgr.dev', ['-days', '-1']),
    untrusted: lab.issue(lab.authority('Strange CA'), 'origin', 'DNS:cgr.dev'),
    remove: () => lab.remove(),
  }
}

type Settings = Readonly<Record<string, unknown>>

export interface ForwardLab {
  readonly gate: TestGate
  readonly wire: DivertedWire
  client(): Promise<RawClient>
}

/** @param origin answers requests, or speaks whatever it likes over TLS */
export async function openForwardLab(
  pair: Pair,
  origin: { readonly request?: RequestListener; readonly raw?: (socket: TLSSocket) => void },
  settings: Settings | ((port: number) => Settings) = {},
): Promise<ForwardLab> {
  const server = origin.raw
    ? createTlsServer(readPair(pair), origin.raw)
    : createServer(readPair(pair), origin.request)
  server.on('tlsClientError', () => undefined)
  server.on('secureConnection', (socket: TLSSocket) => socket.on('error', () => undefined))
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0
  const wire = new DivertedWire(await testWire(), port)
  const gate = await startGate(
    {
      policy: { presets: [], allow: [{ host: 'cgr.dev' }] },
      dns: { hosts: { 'cgr.dev': ['8.8.8.8'] } },
      forward: { absoluteForm: 'on' },
      ...(typeof settings === 'function' ? settings(port) : settings),
    },
    { wire },
  )
  const clients: RawClient[] = []
  onTestFinished(async () => {
    for (const client of clients) client.destroy()
    await gate.stop()
    server.close()
    if (server instanceof Server) server.closeAllConnections()
    expect(gate.bugs).toEqual([])
  })
  return {
    gate,
    wire,
    async client() {
      const client = await RawClient.connect(gate.port)
      clients.push(client)
      return client
    },
  }
}
