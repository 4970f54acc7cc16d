import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MISTYPED, WOLFI, httpsPorts, startPackageSide } from './lab/chainguard.ts'
import type { PackageSide } from './lab/chainguard.ts'
import { curlThrough } from './lab/curl.ts'
import { startGate } from './lab/gate.ts'
import type { Gate } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { hello } from './lab/package-host.ts'
import { run, tidyEnv } from './lab/programs.ts'
import { isDecision } from './lab/records.ts'
import { Scope } from './lab/scope.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['dnsmasq', 'curl', 'openssl', 'git'],
  free: httpsPorts,
})

/** curl's way to ask the proxy for one host and then name another in the ClientHello. */
const fronting = ['--connect-to', `${MISTYPED}:443:${WOLFI}:443`, `https://${MISTYPED}/hello.txt`]

describe.skipIf(lab.missing)(`a tunnel to an allowed host that is meant for another${lab.because}`, () => {
  const scope = new Scope()
  let packages: PackageSide
  let gate: Gate

  beforeAll(async () => {
    packages = await startPackageSide(scope)
    gate = await startGate(scope, packages.nameserver.address)
  })
  afterAll(() => scope.close())

  /** The one decision about the last attempt; none of its bytes may have reached the host. */
  const expectDenied = async (decisionsBefore: number, reason: string): Promise<void> => {
    await gate.waitForRecord(reason, ({ event }) => event.reason === reason)
    const decisions = gate.records().filter(isDecision).slice(decisionsBefore)
    expect(decisions).toHaveLength(1)
    expect(decisions[0]).toMatchObject({
      event: { action: 'tunnel-denied', outcome: 'success', reason },
      destination: { domain: WOLFI, port: 443 },
    })
    expect(packages.wolfi.connections()).toBe(0)
    expect(gate.records().filter(({ event }) => event.action === 'tunnel-closed')).toEqual([])
  }

  test('another name in the ClientHello: a TLS alert, and one record', async () => {
    const before = gate.records().filter(isDecision).length
    const finished = await curlThrough(scope, gate.url, packages.authority.file)(...fronting)
    expect(finished.code).toBe(35)
    expect(finished.stderr).toMatch(/^curl: \(35\) .*alert.*|^curl: \(35\) .*unrecognized name/m)
    await expectDenied(before, 'sni_mismatch')
  })

  test('no name in the ClientHello: a TLS alert, and one record', async () => {
    const before = gate.records().filter(isDecision).length
    const to = ['-proxy', `127.0.0.1:${gate.port}`, '-connect', `${WOLFI}:443`, '-noservername']
    const env = tidyEnv(scope.folder)
    const finished = await run('openssl', ['s_client', '-quiet', ...to], { env, deadlineMs: 20_000 })
    expect(finished.code).not.toBe(0)
    expect(finished.stderr).toMatch(/alert/)
    await expectDenied(before, 'sni_missing')
  })

  test('no TLS at all: the tunnel ends, and one record', async () => {
    const before = gate.records().filter(isDecision).length
    const curl = curlThrough(scope, gate.url, packages.authority.file)
    const finished = await curl('--proxytunnel', `http://${WOLFI}:443/hello.txt`)
    expect(finished.code).not.toBe(0)
    await expectDenied(before, 'not_tls')
  })

  test('policy.sni off lets the other name pass', async () => {
    const open = await startGate(scope, packages.nameserver.address, { policy: { sni: 'off' } })
    const finished = await curlThrough(scope, open.url, packages.authority.file)('--insecure', ...fronting)
    expect(finished.stdout).toBe(hello)
    await open.waitForRecord('opened', ({ event }) => event.action === 'tunnel-opened')
  })
})
