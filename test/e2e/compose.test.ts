import { existsSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { makeBaseImages, makeWorkloadImage } from './lab/base-images.ts'
import { createAuthority } from './lab/certificates.ts'
import { CGR, MISTYPED, R2 } from './lab/chainguard.ts'
import { composePlugin, startDockerHost } from './lab/docker-host.ts'
import type { DockerHost } from './lab/docker-host.ts'
import { node, root, sallyport } from './lab/gate.ts'
import { pushImage } from './lab/image.ts'
import { blobHost, registryHost } from './lab/image-hosts.ts'
import { needing } from './lab/needs.ts'
import { startNameserver } from './lab/nameserver.ts'
import { run } from './lab/programs.ts'
import { parseRecords } from './lab/records.ts'
import type { AuditRecord } from './lab/records.ts'
import { startRegistry } from './lab/registry.ts'
import { Scope } from './lab/scope.ts'
import { startSite } from './lab/site.ts'
import { eventually } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: [
    'dockerd',
    'docker',
    'ip',
    'nsenter',
    'docker-registry',
    'skopeo',
    'dnsmasq',
    'busybox',
    'curl',
    'openssl',
    'npm',
  ],
})
/** It serves on both wires itself: once for each run of the tests is enough. */
const elsewhere = process.env['SALLYPORT_E2E_WIRE'] === 'portable'
const noCompose = !existsSync(composePlugin)
const because =
  lab.because ||
  (elsewhere
    ? ' (skipped: it has both wires in one run)'
    : noCompose
      ? ' (skipped: no docker compose v2, which test/e2e/tools.sh fetches)'
      : '')
const hasHealthcheck = (await run(node, [sallyport, 'healthcheck', '--help'])).code === 0

const hardLimit = (): number =>
  Number(/^Max open files\s+\S+\s+(\d+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1] ?? 1024)

describe.skipIf(because !== '')(`docker compose up, as the file in the repository has it${because}`, () => {
  const scope = new Scope()
  let host: DockerHost
  let settings: (wire: string) => void
  let repository: string
  const compose = (...args: string[]) =>
    host.docker(
      [
        'compose',
        '-p',
        'sallyport-e2e',
        '-f',
        `${root}docker-compose.yml`,
        '-f',
        scope.path('override.yaml'),
        ...args,
      ],
      { env: { WORKLOAD_IMAGE: 'sallyport-test/workload:local' } },
    )
  const must = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await compose(...args)
    if (code !== 0) throw new Error(`docker compose ${args.join(' ')}: ${stdout}\n${stderr}`)
    return stdout
  }
  const workload = (...args: string[]) => compose('exec', '-T', 'workload', ...args)
  const skopeo = (from: string) =>
    workload('skopeo', '--insecure-policy', 'copy', `docker://${from}`, 'dir:/tmp/image')
  /** The trail in the volume. */
  const records = (): AuditRecord[] =>
    parseRecords(readFileSync(`${host.data}/volumes/sallyport-e2e_audit/_data/audit.ndjson`, 'utf8'))
  const last = (action: string): AuditRecord | undefined =>
    records().findLast((record) => record.event.action === action)
  const container = async (): Promise<string> => (await must('ps', '--quiet', 'sallyport')).trim()
  const inspect = async (format: string): Promise<string> =>
    (await host.docker(['inspect', '--format', format, await container()])).stdout.trim()

  beforeAll(async () => {
    host = await startDockerHost(scope)
    const places = [
      { name: CGR, address: host.outside(2), ttl: 60 },
      { name: R2, address: host.outside(3), ttl: 30 },
      { name: MISTYPED, address: host.outside(9), ttl: 60 },
    ]
    const authority = await createAuthority(scope)
    const nameserver = await startNameserver(scope, places, host.outside(1))
    const registry = await startRegistry(scope)
    await pushImage(scope, registry.address, 'chainguard/lab')
    repository = `${CGR}/chainguard/lab`
    await startSite(scope, authority, CGR, host.outside(2), registryHost(registry.address, R2))
    await startSite(scope, authority, R2, host.outside(3), blobHost(registry.address))

    mkdirSync(scope.path('etc'))
    // The health check has to find the admin listener by the mounted file, not by the one that the program ships with.
    const shipped = readFileSync(`${root}deploy/container/sallyport.yaml`, 'utf8').replace(
      '127.0.0.1:9128',
      '127.0.0.1:9129',
    )
    settings = (wire) =>
      writeFileSync(
        scope.path('etc/sallyport.yaml'),
        shipped +
          stringify({
            wire,
            dns: { servers: [nameserver.address] },
            addresses: { allow: [host.outsideBlock] },
          }),
      )
    settings('kernel')
    writeFileSync(
      scope.path('override.yaml'),
      stringify({
        services: {
          sallyport: {
            volumes: [`${scope.path('etc')}:/etc/sallyport:ro`],
            // No more than this machine may give.
            ulimits: { nofile: Math.min(65_536, hardLimit()) },
            ...(!hasHealthcheck && {
              healthcheck: {
                test: ['CMD', '/usr/bin/node', '-e', "net.connect(3128).on('connect', () => process.exit())"],
                interval: '1s',
              },
            }),
          },
        },
      }),
    )
    await makeBaseImages(scope, host)
    await makeWorkloadImage(scope, host, authority.file)
    await must('up', '--detach', '--build', '--wait')
    // Without overlayfs every step of a build copies the whole image.
  }, 600_000)
  afterAll(async () => {
    await compose('down', '--volumes', '--timeout', '5')
    await scope.close()
  })

  test('the image adds less than 120 MB to its base, and carries what it is', async () => {
    const size = async (image: string): Promise<number> =>
      Number((await host.docker(['image', 'inspect', '--format', '{{.Size}}', image])).stdout)
    const added = (await size('sallyport:local')) - (await size('cgr.dev/chainguard/node:latest'))
    expect(added).toBeGreaterThan(0)
    expect(added).toBeLessThan(120e6)
    const labels = await host.docker([
      'image',
      'inspect',
      '--format',
      '{{json .Config.Labels}}',
      'sallyport:local',
    ])
    expect(labels.stdout).toContain('"org.opencontainers.image.licenses":"Apache-2.0"')
    const shell = await host.docker([
      'run',
      '--rm',
      '--entrypoint',
      '/bin/sh',
      'sallyport:local',
      '-c',
      'true',
    ])
    expect(shell.code).not.toBe(0)
  })

  test.skipIf(!hasHealthcheck)(
    `is healthy by \`sallyport healthcheck\`${hasHealthcheck ? '' : ' (skipped: there is no such command)'}`,
    async () => {
      expect(await inspect('{{json .Config.Healthcheck.Test}}')).toContain('healthcheck')
      expect(await inspect('{{.State.Health.Status}}')).toBe('healthy')
    },
  )

  describe.each(['kernel', 'portable'])('on the %s wire', (wire) => {
    beforeAll(async () => {
      if (wire === 'kernel') return
      settings(wire)
      await must('restart', 'sallyport')
      await must('up', '--detach', '--wait')
    })

    test('it runs with a read-only root, a user of its own, no capabilities, and the default seccomp profile', async () => {
      expect(last('gate-started')?.sallyport['wire']).toBe(wire)
      expect(await inspect('{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.Privileged}}')).toBe('true false')
      const status = readFileSync(`/proc/${await inspect('{{.State.Pid}}')}/status`, 'utf8')
      expect(status).toMatch(/^Uid:\s+65532\s+65532\s+65532\s+65532$/m)
      for (const set of ['Inh', 'Prm', 'Eff', 'Bnd', 'Amb'])
        expect(status).toMatch(new RegExp(`^Cap${set}:\\s+0+$`, 'm'))
      expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
      // 2: a filter is at work.
      expect(status).toMatch(/^Seccomp:\s+2$/m)
    })

    test('the workload copies an image through it, and each tunnel is recorded', async () => {
      const before = records().length
      const { code, stderr } = await skopeo(`${repository}:latest`)
      expect(stderr).toBe('')
      expect(code).toBe(0)
      const closed = () =>
        records()
          .slice(before)
          .filter((record) => record.event.action === 'tunnel-closed')
      const hosts = () => new Set(closed().map((record) => record.destination?.domain))
      await eventually('closing records of both hosts', 10_000, () => hosts().size === 2)
      expect(hosts()).toEqual(new Set([CGR, R2]))
    })

    test('what the policy does not name is refused with a reason, and recorded in the volume and in the log', async () => {
      const { code, stderr } = await skopeo(`${MISTYPED}/chainguard/lab:latest`)
      expect(code).not.toBe(0)
      expect(stderr).toContain(`sallyport denied ${MISTYPED}:443: host_not_allowed, did you mean ${CGR}?`)
      const denied = last('tunnel-denied')
      expect(denied).toMatchObject({
        destination: { domain: MISTYPED },
        event: { reason: 'host_not_allowed' },
      })
      expect((await compose('logs', '--no-log-prefix', 'sallyport')).stdout).toContain(denied?.event.id)
    })

    test('the commands that the file gives do what it says of them', async () => {
      const before = records().length
      const said = readFileSync(`${root}docker-compose.yml`, 'utf8').matchAll(
        /^# +docker compose exec workload (curl .*?) +# (allowed|denied)/gm,
      )
      const seen: unknown[] = []
      for (const [, command = '', outcome = ''] of said) {
        const { code, stderr } = await workload(...command.split(' '))
        const isDenied = /403 sallyport denied \S+: host_not_allowed/.test(stderr)
        seen.push({ outcome, code: code === 0 ? 'ends well' : 'fails', isDenied })
      }
      expect(seen).toEqual([
        { outcome: 'allowed', code: 'ends well', isDenied: false },
        { outcome: 'denied', code: 'fails', isDenied: true },
      ])
      const decided = records().slice(before)
      const actions = decided.map(({ event }) => event.action).filter((action) => action !== 'tunnel-closed')
      expect(actions).toEqual(['tunnel-opened', 'tunnel-denied'])
    })

    test('the workload has no way around it', async () => {
      const before = records().length
      const direct = await workload('nc', '-w', '3', host.outside(2), '443')
      expect(direct.code).not.toBe(0)
      const { code } = await workload(
        'env',
        '-u',
        'HTTPS_PROXY',
        '-u',
        'https_proxy',
        'skopeo',
        'inspect',
        `docker://${repository}`,
      )
      expect(code).not.toBe(0)
      expect(records().length).toBe(before)
    })
  })

  test('it survives a restart: tunnels again, and the trail goes on in the same file', async () => {
    const before = records()
    await must('restart', 'sallyport')
    await must('up', '--detach', '--wait')
    const { code } = await skopeo(`${repository}:latest`)
    expect(code).toBe(0)
    const after = records()
    expect(after.slice(0, before.length)).toEqual(before)
    expect(after.slice(before.length).map((record) => record.event.action)).toEqual(
      expect.arrayContaining(['gate-stopped', 'gate-started', 'tunnel-opened']),
    )
    expect(readdirSync(`${host.data}/volumes/sallyport-e2e_audit/_data`)).toEqual(['audit.ndjson'])
  })
  const text = (file: string): string => readFileSync(`${root}${file}`, 'utf8')
  test.each([
    ['docs/deploying.md', /^docker run --detach ((?:.*\\\n)+.*)$/m.exec(text('docs/deploying.md'))?.[1]],
    ['the Dockerfile', /^# +docker run (.*)$/m.exec(text('Dockerfile'))?.[1]],
  ])('the docker run of %s serves, and keeps the trail in a volume', async (_where, written = '') => {
    const words = written
      .replaceAll(/\\\n|"/g, ' ')
      .replaceAll('$PWD/', root)
      .trim()
      .split(/\s+/)
    const name = 'sallyport-e2e-alone'
    const image = words.at(-1) === 'sallyport' ? ['sallyport:local'] : words.slice(-1)
    const options = words.slice(0, -1).filter((word, at) => word !== '--name' && words[at - 1] !== '--name')
    try {
      const run = await host.docker(['run', '--detach', '--name', name, ...options, ...image])
      expect(run.stderr).toBe('')
      const state = async (format: string): Promise<string> =>
        (await host.docker(['inspect', '--format', format, name])).stdout.trim()
      await eventually('health', 60_000, async () => (await state('{{.State.Health.Status}}')) === 'healthy')
      const volume = await state('{{range .Mounts}}{{if eq .Type "volume"}}{{.Source}}{{end}}{{end}}')
      const trail = parseRecords(readFileSync(`${volume}/audit.ndjson`, 'utf8'))
      expect(trail[0]?.event.action).toBe('gate-started')
    } finally {
      await host.docker(['rm', '--force', '--volumes', name])
    }
  })
})
