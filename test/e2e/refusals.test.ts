import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CGR, WOLFI, httpsPorts, placeOf, startPackageSide } from './lab/chainguard.ts'
import type { PackageSide } from './lab/chainguard.ts'
import { curlThrough } from './lab/curl.ts'
import type { CurlResult } from './lab/curl.ts'
import { startGate } from './lab/gate.ts'
import type { Gate } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { isDecision } from './lab/records.ts'
import { Scope } from './lab/scope.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['dnsmasq', 'curl', 'openssl', 'git'],
  free: httpsPorts,
})
const absent = 'absent.example.com'
const idle = 'idle.example.com'

describe.skipIf(lab.missing)(`what curl shows of each kind of refusal${lab.because}`, () => {
  const scope = new Scope()
  let packages: PackageSide
  let gate: Gate

  beforeAll(async () => {
    packages = await startPackageSide(scope)
    const rule = { port: 443, owner: 'platform', reason: 'a test' }
    gate = await startGate(scope, packages.nameserver.address, {
      policy: { allow: [absent, idle].map((host) => Object.assign({ host }, rule)) },
      dns: { servers: [packages.nameserver.address], hosts: { [idle]: ['127.0.0.8'] } },
    })
  })
  afterAll(() => scope.close())

  const curl = (through: Gate, ...args: string[]): Promise<CurlResult> =>
    curlThrough(scope, through.url, packages.authority.file)(...args)

  /** How the proxy answered, and every decision that this one request left in the trail under that id. */
  const refusal = async (through: Gate, url: string) => {
    const before = through.records().filter(isDecision).length
    const { connectReply = '' } = await curl(through, url)
    const [, status, phrase, id] = /^HTTP\/1\.1 (\d+) sallyport (.*) \(id (\S+)\)$/.exec(connectReply) ?? []
    await through.waitForRecord(`id ${id} of ${connectReply}`, ({ event }) => event.id === id)
    const recorded = through.records().filter(isDecision).slice(before)
    const decisions = recorded.map(({ event }) => [event.action, event.reason])
    return { status: Number(status), phrase, decisions }
  }
  const said = (status: number, code: string) => ({
    status,
    phrase: expect.stringMatching(new RegExp(`\\b${code}\\b`)) as unknown,
    decisions: [[status < 500 ? 'tunnel-denied' : 'tunnel-failed', code]],
  })

  test('an address instead of a name', async () => {
    const url = `https://${placeOf(WOLFI).address}/`
    expect(await refusal(gate, url)).toEqual(said(403, 'ip_literal'))
  })

  test('an allowed host on another port', async () => {
    expect(await refusal(gate, `https://${WOLFI}:8443/`)).toEqual(said(403, 'port_not_allowed'))
  })

  test('an allowed host that DNS does not know', async () => {
    expect(await refusal(gate, `https://${absent}/`)).toEqual(said(502, 'dns_nxdomain'))
  })

  test('an allowed host where nobody listens', async () => {
    expect(await refusal(gate, `https://${idle}/`)).toEqual(said(502, 'connect_refused'))
  })

  test('an allowed host whose answer is an address that must not be dialled', async () => {
    const strict = await startGate(scope, packages.nameserver.address, { addresses: { allow: [] } })
    expect(await refusal(strict, `https://${CGR}/`)).toEqual(said(403, 'address_prohibited'))
  })

  test('http:// through the proxy: 405, and the body says what to set', async () => {
    const { stdout, connectReply } = await curl(gate, `http://${WOLFI}/hello.txt`)
    expect(connectReply).toMatch(/^HTTP\/1\.1 405 sallyport .*method_not_allowed/)
    expect(JSON.parse(stdout)).toMatchObject({ code: 'method_not_allowed' })
    expect(stdout).toContain('HTTPS_PROXY')
    await gate.waitForRecord('GET', ({ event }) => event.reason === 'method_not_allowed')
  })

  test('https:// to the plain proxy port: an answer at once, and a record that says so', async () => {
    const before = performance.now()
    const finished = await curl(gate, '--proxy', `https://127.0.0.1:${gate.port}`, `https://${WOLFI}/`)
    expect(finished.code).toBe(35)
    expect(performance.now() - before).toBeLessThan(3_000)
    await gate.waitForRecord('TLS', ({ event }) => event.reason === 'tls_on_plain_port')
  })
})
