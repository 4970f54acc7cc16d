import { existsSync, readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WOLFI, httpsPorts, startPackageSide } from './lab/chainguard.ts'
import type { PackageSide } from './lab/chainguard.ts'
import { firstLineFor } from './lab/connect.ts'
import { gateConfig, node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { hello } from './lab/package-host.ts'
import { freePort } from './lab/ports.ts'
import { run, tidyEnv } from './lab/programs.ts'
import { parseRecords } from './lab/records.ts'
import { Scope } from './lab/scope.ts'
import { startService } from './lab/service.ts'
import { eventually } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['bash', 'dnsmasq', 'curl', 'openssl', 'git', 'head'],
  free: httpsPorts,
})

describe.skipIf(lab.missing)(`a gate whose standard output nobody reads any more${lab.because}`, () => {
  const scope = new Scope()
  let packages: PackageSide

  beforeAll(async () => {
    packages = await startPackageSide(scope)
  })
  afterAll(() => scope.close())

  /** The gate with `| head -n 1` behind it: after its first record, each write to standard output is EPIPE. */
  const startUnread = async (audit: Record<string, unknown>) => {
    const port = await freePort()
    const config = writeConfig(scope, gateConfig(port, packages.nameserver.address, { audit }))
    const read = scope.path(`read-${port}`)
    const service = await startService(scope, {
      name: 'sallyport',
      command: 'bash',
      args: [
        '-c',
        `exec "$@" > >(exec head -n 1 > ${read})`,
        'bash',
        node,
        sallyport,
        'serve',
        '--config',
        config,
      ],
      cwd: root,
      env: tidyEnv(scope.folder),
      ready: () => existsSync(read) && readFileSync(read, 'utf8').endsWith('\n'),
    })
    expect(parseRecords(readFileSync(read, 'utf8'))[0]?.event.action).toBe('gate-started')
    const env = tidyEnv(scope.folder, { HTTPS_PROXY: `http://127.0.0.1:${port}`, NO_PROXY: '' })
    const curl = ['-sS', '-v', '--cacert', packages.authority.file, `https://${WOLFI}/hello.txt`]
    return { service, port, fetch: () => run('curl', curl, { env }) }
  }

  test('audit.onError deny (the default): once the pipe is known to be broken, no tunnel opens', async () => {
    const { service, port, fetch } = await startUnread({})
    // A refused request is what meets the broken pipe.
    expect(await firstLineFor(port, 'example.com:443')).toMatch(/^HTTP\/1\.1 403 sallyport /)
    await eventually('word of the broken pipe on standard error', 5_000, () =>
      service.stderr().includes('EPIPE'),
    )
    const before = packages.wolfi.connections()
    for (let attempt = 0; attempt < 3; attempt += 1) {
      const { stderr } = await fetch()
      expect(stderr).toMatch(/^< HTTP\/1\.1 503 sallyport denied .*audit_unavailable/m)
    }
    expect(packages.wolfi.connections()).toBe(before)
    expect(service.exit()).toBeUndefined()
  })

  test('audit.onError deny: not even the tunnel that meets the broken pipe passes', async () => {
    const { fetch } = await startUnread({})
    expect((await fetch()).stdout).toBe('')
  })

  test('audit.onError continue: tunnels open, and standard error says that the trail is lost', async () => {
    const { service, fetch } = await startUnread({ onError: 'continue' })
    for (let attempt = 0; attempt < 3; attempt += 1) expect((await fetch()).stdout).toBe(hello)
    await eventually('word of the broken pipe on standard error', 5_000, () =>
      service.stderr().includes('EPIPE'),
    )
    service.child.kill('SIGTERM')
    await eventually('end of the gate', 10_000, () => service.exit() !== undefined)
  })
})
