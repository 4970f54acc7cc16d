import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CGR, MISTYPED, R2, httpsPorts, placeOf, startImageSide, startPackageSide } from './lab/chainguard.ts'
import type { ImageSide, PackageSide } from './lab/chainguard.ts'
import { startDockerd } from './lab/dockerd.ts'
import type { Dockerd } from './lab/dockerd.ts'
import { startGate } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { keepPrinted, tellingLines } from './lab/printed.ts'
import type { Printed } from './lab/printed.ts'
import { closingsFrom, decisionsFrom, isDecision } from './lab/records.ts'
import type { AuditRecord } from './lab/records.ts'
import { Scope } from './lab/scope.ts'
import { startTap } from './lab/tap.ts'
import type { Tap } from './lab/tap.ts'
import { eventually } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: [
    'dockerd',
    'docker',
    'unshare',
    'docker-registry',
    'skopeo',
    'dnsmasq',
    'busybox',
    'openssl',
    'git',
  ],
  free: httpsPorts,
})

describe.skipIf(lab.missing)(`docker pull through the gate${lab.because}`, () => {
  const scope = new Scope()
  let packages: PackageSide
  let images: ImageSide
  let tap: Tap
  let dockerd: Dockerd
  const printed: Record<string, Printed> = {}

  beforeAll(async () => {
    packages = await startPackageSide(scope)
    images = await startImageSide(scope, packages.authority)
    tap = await startTap(scope)
    dockerd = await startDockerd(scope, tap.url, packages.authority.file)
  })
  afterAll(async () => {
    keepPrinted('docker-pull', printed)
    await scope.close()
  })

  /** A gate with this policy, which dockerd's CONNECTs go to from now on. */
  const lead = async (policy: Record<string, unknown>) => {
    const gate = await startGate(scope, packages.nameserver.address, { policy })
    tap.lead(gate.port)
    return gate
  }

  const note = async (what: string, stderr: string): Promise<void> => {
    const versions = await dockerd.docker(
      'version',
      '--format',
      'CLI {{.Client.Version}}, dockerd {{.Server.Version}}',
    )
    printed[what] = { version: versions.stdout.trim(), refused: tellingLines(stderr) }
  }

  /** Waits until each CONNECT that docker sent has its decision and, if it opened, its end; returns them. */
  const settled = async (records: () => AuditRecord[]) => {
    await eventually('record of every CONNECT', 10_000, () =>
      tap.connects().every(({ port }) => {
        const [decision] = decisionsFrom(records(), port)
        if (decision?.event.action !== 'tunnel-opened') return decision !== undefined
        return closingsFrom(records(), port).length > 0
      }),
    )
    return tap.connects().map(({ request, port }) => ({
      request,
      decisions: decisionsFrom(records(), port),
      closings: closingsFrom(records(), port),
    }))
  }

  test('a multi-layer image arrives whole, and the trail says which rule and which DNS answer let it in', async () => {
    const gate = await lead({})
    const reference = `${images.repository}:latest`
    const pull = await dockerd.docker('pull', reference)
    expect(pull.stderr).toBe('')
    expect(pull.code).toBe(0)
    const inspect = (format: string) => dockerd.docker('image', 'inspect', '--format', format, reference)
    const { digest, layers } = images.image
    expect((await inspect('{{json .RepoDigests}}')).stdout).toBe(`["${images.repository}@${digest}"]\n`)
    expect((await inspect('{{len .RootFS.Layers}}')).stdout).toBe(`${layers.length}\n`)

    const tunnels = await settled(gate.records)
    expect(new Set(tunnels.map(({ request }) => request))).toEqual(
      new Set([`CONNECT ${CGR}:443 HTTP/1.1`, `CONNECT ${R2}:443 HTTP/1.1`]),
    )
    for (const { request, decisions, closings } of tunnels) {
      const host = request.includes(CGR) ? CGR : R2
      expect(decisions).toHaveLength(1)
      expect(decisions[0]).toMatchObject({
        event: { action: 'tunnel-opened', outcome: 'success', reason: 'allowed' },
        destination: { domain: host, port: 443, ip: placeOf(host).address },
        rule: { ruleset: 'chainguard-2024-05-14' },
        sallyport: { schema: 1, dns: { answers: [placeOf(host).address] } },
      })
      expect(decisions[0]?.rule?.name).toContain(host)
      const dns = decisions[0]?.sallyport.dns
      expect(dns?.ttl).toBe(placeOf(host).ttl)
      expect(dns?.age).toBeLessThan(placeOf(host).ttl)
      expect(closings).toHaveLength(1)
      expect(closings[0]?.event.duration).toBeGreaterThan(0)
      expect(closings[0]?.source?.bytes).toBeGreaterThan(0)
      expect(closings[0]?.destination?.bytes).toBeGreaterThan(0)
    }
    // No decision that nobody asked for.
    expect(gate.records().filter(isDecision)).toHaveLength(tunnels.length)

    const downloaded = tunnels
      .filter(({ request }) => request.includes(R2))
      .reduce((sum, { closings }) => sum + (closings[0]?.destination?.bytes ?? 0), 0)
    const pushed = layers.reduce((sum, { size }) => sum + size, 0)
    expect(downloaded).toBeGreaterThan(pushed)
    expect(downloaded).toBeLessThan(pushed * 1.05 + 100_000)

    const sources = gate.records().flatMap(({ sallyport }) => sallyport.dns?.source ?? [])
    expect(sources.filter((source) => source === 'hit').length).toBeGreaterThan(0)
    for (const host of [CGR, R2]) {
      // Many tunnels, one question: the answer lives for its TTL.
      expect(packages.nameserver.queries().filter((query) => query === `A ${host}`)).toHaveLength(1)
    }
    await gate.stop()
  })

  test('without the blob host in the policy the pull fails, and docker says host_not_allowed', async () => {
    await dockerd.docker('rmi', '--force', `${images.repository}:latest`)
    const reason = 'base images'
    const gate = await lead({ presets: [], allow: [{ host: CGR, port: 443, owner: 'platform', reason }] })
    const before = images.r2.connections()
    const pull = await dockerd.docker('pull', `${images.repository}:latest`)
    expect(pull.code).not.toBe(0)
    await note('docker pull, blob host missing', pull.stderr)
    expect(pull.stderr).toContain('host_not_allowed')
    expect(pull.stderr).toContain(`sallyport denied ${R2}:443`)
    expect(images.r2.connections()).toBe(before)

    const tunnels = await settled(gate.records)
    for (const { request, decisions } of tunnels) {
      expect(decisions).toHaveLength(1)
      const isCgr = request.includes(CGR)
      expect(decisions[0]?.event.action).toBe(isCgr ? 'tunnel-opened' : 'tunnel-denied')
      expect(decisions[0]?.event.reason).toBe(isCgr ? 'allowed' : 'host_not_allowed')
    }
    expect(tunnels.some(({ request }) => request.includes(R2))).toBe(true)
    await gate.stop()
  })

  test('a mistyped registry is refused with the right name, and its name never reaches DNS', async () => {
    const gate = await lead({})
    const pull = await dockerd.docker('pull', `${MISTYPED}/chainguard/lab:latest`)
    expect(pull.code).not.toBe(0)
    await note('docker pull, mistyped host', pull.stderr)
    expect(pull.stderr).toContain(`sallyport denied ${MISTYPED}:443: host_not_allowed`)
    expect(pull.stderr).toContain(`did you mean ${CGR}?`)

    const tunnels = await settled(gate.records)
    expect(tunnels.length).toBeGreaterThan(0)
    for (const { decisions } of tunnels) {
      expect(decisions).toHaveLength(1)
      expect(decisions[0]).toMatchObject({
        event: { action: 'tunnel-denied', outcome: 'success', reason: 'host_not_allowed' },
        destination: { domain: MISTYPED, port: 443 },
        sallyport: { hint: CGR },
      })
    }
    expect(packages.nameserver.queries().filter((query) => query.includes(MISTYPED))).toEqual([])
    expect(packages.mistyped.connections()).toBe(0)
    await gate.stop()
  })
})
