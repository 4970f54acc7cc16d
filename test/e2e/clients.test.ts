import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  CGR,
  MISTYPED,
  WOLFI,
  httpsPorts,
  placeOf,
  startImageSide,
  startPackageSide,
} from './lab/chainguard.ts'
import type { PackageSide } from './lab/chainguard.ts'
import { clients } from './lab/clients.ts'
import type { Facts } from './lab/clients.ts'
import { startGate } from './lab/gate.ts'
import type { Gate } from './lab/gate.ts'
import { missing, needing } from './lab/needs.ts'
import { closingsFrom, decisionsFrom } from './lab/records.ts'
import { keepPrinted, tellingLines } from './lab/printed.ts'
import type { Printed } from './lab/printed.ts'
import { run } from './lab/programs.ts'
import { Scope } from './lab/scope.ts'
import { startTap } from './lab/tap.ts'
import type { Tap } from './lab/tap.ts'
import { eventually } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['docker-registry', 'skopeo', 'dnsmasq', 'busybox', 'openssl', 'git'],
  free: httpsPorts,
})
const programs = await Promise.all(clients.map((client) => needing({ programs: client.programs })))

describe.skipIf(lab.missing)(`real clients behind the gate${lab.because}`, () => {
  const scope = new Scope()
  let packages: PackageSide
  let gate: Gate
  let tap: Tap
  let facts: Facts
  const printed: Record<string, Printed> = {}

  beforeAll(async () => {
    packages = await startPackageSide(scope)
    const images = await startImageSide(scope, packages.authority)
    gate = await startGate(scope, packages.nameserver.address)
    tap = await startTap(scope)
    const { authority, commit } = packages
    const { digest } = images.image
    facts = { scope, proxy: tap.url, caFile: authority.file, commit, digest }
  })
  afterAll(async () => {
    keepPrinted('clients', printed)
    await scope.close()
  })

  for (const [index, client] of clients.entries()) {
    const { missing = false, because = '' } = programs[index] ?? {}
    describe.skipIf(missing)(`${client.name}${because}`, () => {
      test('reaches an allowed host', async () => {
        tap.lead(gate.port)
        const finished = await client.fetch(facts, client.registry ? CGR : WOLFI)
        expect(`${finished.stdout}\n--stderr--\n${finished.stderr}`).toContain(client.expected(facts))
        expect(finished.code).toBe(0)
        await eventually('end of every tunnel', 30_000, () =>
          tap.connects().every(({ port }) => closingsFrom(gate.records(), port).length === 1),
        )
        expect(tap.connects().length).toBeGreaterThan(0)
        for (const { request, port } of tap.connects()) {
          const [decision, ...more] = decisionsFrom(gate.records(), port)
          expect(more).toEqual([])
          const host = /^CONNECT (\S+):443 /.exec(request)?.[1] ?? ''
          expect(decision).toMatchObject({
            event: { action: 'tunnel-opened', reason: 'allowed' },
            destination: { domain: host, port: 443, ip: placeOf(host).address },
            http: { version: request.slice(-3) },
          })
        }
      })

      test('shows its user why a host is refused', async () => {
        tap.lead(gate.port)
        const finished = await client.fetch(facts, MISTYPED)
        const output = `${finished.stdout}${finished.stderr}`
        const version = await run(client.version[0], [client.version[1]])
        printed[client.name] = {
          version: `${version.stdout}${version.stderr}`.split('\n')[0] ?? '',
          refused: tellingLines(output),
        }
        expect(finished.code).not.toBe(0)

        expect(tap.connects().length).toBeGreaterThan(0)
        for (const { port, request } of tap.connects()) {
          expect(request).toMatch(/^CONNECT cgr\.dv:443 HTTP\/1\.[01]$/)
          const record = await gate.waitForRecord('refusal', (one) => one.source?.port === port)
          expect(decisionsFrom(gate.records(), port)).toEqual([record])
          expect(record).toMatchObject({
            event: { action: 'tunnel-denied', outcome: 'success', reason: 'host_not_allowed' },
            destination: { domain: MISTYPED, port: 443 },
            http: { version: request.slice(-3) },
            sallyport: { hint: CGR },
          })
        }
        const ids = tap
          .connects()
          .map(({ port }) => decisionsFrom(gate.records(), port)[0]?.event.id ?? '(no id in the record)')
        const phrase = (id: string): string =>
          `sallyport denied ${MISTYPED}:443: host_not_allowed, did you mean ${CGR}? (id ${id})`
        // Some clients try twice and show the last attempt.
        const shows = (id: string): boolean =>
          client.prints(phrase(id)).every((line) => output.includes(line))
        expect(
          ids.some(shows),
          `${output}\nshould show ${client.prints(phrase(ids[0] ?? '')).join(' | ')}`,
        ).toBe(true)
        expect(packages.nameserver.queries().filter((query) => query.includes(MISTYPED))).toEqual([])
        expect(packages.mistyped.connections()).toBe(0)
      })
    })
  }

  test.skipIf(missing(['python3']).length > 0)(
    'Python up to 3.11 sends CONNECT over HTTP/1.0 without Host, and is served',
    async () => {
      const python = clients.find(({ name }) => name === 'Python urllib')
      const { stdout, stderr } = await run('python3', ['--version'])
      const minor = Number(/^Python 3\.(\d+)/.exec(`${stdout}${stderr}`)?.[1])
      tap.lead(gate.port)
      expect((await python?.fetch(facts, WOLFI))?.code).toBe(0)
      const [seen] = tap.connects()
      expect(seen?.request).toBe(`CONNECT ${WOLFI}:443 HTTP/1.${minor <= 11 ? 0 : 1}`)
      expect(/^host:/im.test(seen?.head ?? '')).toBe(minor > 11)
    },
  )
})
