import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { MISTYPED, WOLFI, httpsPorts, startPackageSide } from './lab/chainguard.ts'
import type { PackageSide } from './lab/chainguard.ts'
import { firstLineFor } from './lab/connect.ts'
import { startDownload } from './lab/download.ts'
import { gateConfig, node, root, sallyport, startGate, writeConfig } from './lab/gate.ts'
import type { Gate } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { accepts, freePort } from './lab/ports.ts'
import { run, tidyEnv } from './lab/programs.ts'
import type { AuditRecord } from './lab/records.ts'
import { Scope } from './lab/scope.ts'
import { within } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['dnsmasq', 'curl', 'openssl', 'git'],
  free: httpsPorts,
})
const is =
  (action: string) =>
  ({ event }: AuditRecord): boolean =>
    event.action === action

describe.skipIf(lab.missing)(`the end of a gate with a download in flight${lab.because}`, () => {
  const scope = new Scope()
  let packages: PackageSide

  beforeAll(async () => {
    packages = await startPackageSide(scope)
  })
  afterAll(() => scope.close())

  const gateWithDownload = async (drainTimeout: string, seconds: number) => {
    const gate = await startGate(scope, packages.nameserver.address, { limits: { drainTimeout } })
    const download = await startDownload(scope, gate.url, packages.authority.file, seconds)
    expect(download.size()).toBeLessThan(download.whole)
    return { gate, download }
  }

  /** The trail of a gate that has ended: one tunnel, opened and closed once, and the gate's own last word. */
  const expectWholeTrail = (gate: Gate, ...closedWith: readonly string[]): void => {
    const actions = gate.records().map(({ event }) => event.action)
    expect(actions[0]).toBe('gate-started')
    expect(actions.at(-1)).toBe('gate-stopped')
    expect(actions.filter((action) => action === 'tunnel-opened')).toHaveLength(1)
    const closings = gate.records().filter(is('tunnel-closed'))
    expect(closings).toHaveLength(1)
    expect(closedWith).toContain(closings[0]?.event.reason)
    const sequences = gate.records().map(({ event }) => event.sequence)
    expect(sequences).toEqual(sequences.map((_, index) => (sequences[0] ?? 0) + index))
  }

  test('SIGTERM: nothing new is let in, the download completes, and then it exits with 0', async () => {
    const { gate, download } = await gateWithDownload('25s', 3)
    gate.child.kill('SIGTERM')
    await gate.waitForRecord('gate-draining', is('gate-draining'))
    expect(await firstLineFor(gate.port, `${WOLFI}:443`)).toMatch(/^refused$|^HTTP\/1\.1 503 .*draining/)
    expect(download.size()).toBeLessThan(download.whole)

    const curl = await within('end of the download', 10_000, download.service.exited)
    expect({ ...curl, stderr: download.service.stderr() }).toEqual({ code: 0, signal: null, stderr: '' })
    expect(download.size()).toBe(download.whole)
    expect(await within('end of the gate', 5_000, gate.exited)).toEqual({ code: 0, signal: null })
    // curl closes as soon as it has everything: the host's goodbye may meet a socket that is gone.
    expectWholeTrail(gate, 'completed', 'client_reset')
    const closing = gate.records().find(is('tunnel-closed'))
    expect(closing?.destination?.bytes).toBeGreaterThan(download.whole)
  })

  test('a second SIGTERM ends it at once, and the cut tunnel is still recorded', async () => {
    const { gate, download } = await gateWithDownload('25s', 60)
    gate.child.kill('SIGTERM')
    await gate.waitForRecord('gate-draining', is('gate-draining'))
    const before = performance.now()
    gate.child.kill('SIGTERM')
    const exit = await within('end of the gate', 5_000, gate.exited)
    expect(performance.now() - before).toBeLessThan(2_000)
    expect(exit.signal).toBeNull()
    const curl = await within('end of the download', 5_000, download.service.exited)
    expect(curl.code).not.toBe(0)
    expect(download.size()).toBeLessThan(download.whole)
    expectWholeTrail(gate, 'drain_timeout')
  })

  test('a download longer than limits.drainTimeout is cut then', async () => {
    const { gate, download } = await gateWithDownload('1s', 60)
    const before = performance.now()
    gate.child.kill('SIGTERM')
    expect(await within('end of the gate', 6_000, gate.exited)).toEqual({ code: 0, signal: null })
    expect(performance.now() - before).toBeGreaterThan(900)
    expect((await within('end of the download', 5_000, download.service.exited)).code).not.toBe(0)
    expectWholeTrail(gate, 'drain_timeout')
  })
})

describe('a gate that cannot start', () => {
  const scope = new Scope()
  afterAll(() => scope.close())

  const serve = (file: string) =>
    run(node, [sallyport, 'serve', '--config', file], {
      cwd: root,
      env: tidyEnv(scope.folder),
      deadlineMs: 15_000,
    })

  test('its port is in use: one line says so, and it exits with 2', async () => {
    const gate = await startGate(scope, '127.0.0.1:9')
    const second = await serve(writeConfig(scope, gateConfig(gate.port, '127.0.0.1:9')))
    expect(second.code).toBe(2)
    expect(second.stderr.trim().split('\n')).toHaveLength(1)
    expect(second.stderr).toContain(`127.0.0.1:${gate.port}`)
    expect(second.stderr).toMatch(/in use/i)
    expect(second.stdout).not.toContain('gate-started')
    // The first one is none the worse for it.
    expect(await firstLineFor(gate.port, `${MISTYPED}:443`)).toContain('host_not_allowed')
    await gate.stop()
  })

  test('its configuration is invalid: every issue with file:line:column, and nothing listens', async () => {
    const port = await freePort()
    const text = `listen: 127.0.0.1:${port}
admin: { listen: null }
policy:
  preset: [chainguard-2024-05-14]
limits:
  drainTimeout: soon
`
    const file = writeConfig(scope, text)
    const { code, stdout, stderr } = await serve(file)
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toContain(`${file}:4:3`)
    expect(stderr).toContain(`${file}:6:17`)
    expect(await accepts(port)).toBe(false)
  })

  test('it has nothing to allow: it refuses to start', async () => {
    const port = await freePort()
    const policy = { presets: [], allow: [] }
    const { code, stdout, stderr } = await serve(
      writeConfig(scope, gateConfig(port, '127.0.0.1:9', { policy })),
    )
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).not.toBe('')
    expect(await accepts(port)).toBe(false)
  })
})
