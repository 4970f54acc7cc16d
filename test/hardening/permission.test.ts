/** The gate under Node's permission model with the least grants: it does its work, and what it does not need is refused. */
import { execFile } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { until } from '../support/deadline.ts'
import { addresses, NODATA } from '../support/dns-scripts.ts'
import { DnsServer } from '../support/dns-server.ts'
import { GateProcess } from '../support/gate-process.ts'
import { openProcessLab } from '../support/process-lab.ts'
import { GRANTS, leastGrants } from './grants.ts'

const PROBE = fileURLToPath(new URL('./probe.mjs', import.meta.url))
/** `--allow-net` came with Node 25; before, the network cannot be taken away. */
const permits = process.allowedNodeEnvironmentFlags.has('--allow-net')
const kernel = process.platform === 'linux' && ['x64', 'arm64'].includes(process.arch)

function folderForTest(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-hardening-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

describe.runIf(permits)('with the least grants', () => {
  test('the portable wire resolves, dials, relays, denies and drains', async () => {
    const lab = await openProcessLab()
    const dns = await DnsServer.start()
    onTestFinished(() => dns.close())
    dns.on('cgr.dev', 'A', addresses(60, '127.0.0.1')).on('cgr.dev', 'AAAA', NODATA)
    const gate = await lab.gate(
      { wire: 'portable', dns: { servers: [dns.address] } },
      { nodeOptions: leastGrants },
    )
    const client = await lab.tunnel(gate)
    client.finish()
    expect(await client.ended()).toBe('fin')
    expect(await lab.ask(gate, 'cgr.dv:443')).toMatch(/^HTTP\/1\.1 403 .*host_not_allowed/)
    expect(await gate.stop()).toBe(0)
    expect(gate.audit.decisions.map(({ event }) => event.reason)).toEqual(['allowed', 'host_not_allowed'])
    expect(dns.count('A', 'cgr.dev')).toBe(1)
  })

  test.for(GRANTS)('none is too many: not without %s', async (grant) => {
    const start = GateProcess.start(
      { wire: 'portable' },
      { nodeOptions: (file) => leastGrants(file, [grant]) },
    )
    await expect(start).rejects.toThrow('the gate did not start')
  })

  test('workers need --allow-child-process, and it says so', async () => {
    const start = GateProcess.start({ wire: 'portable', workers: 2 }, { nodeOptions: leastGrants })
    await expect(start).rejects.toThrow(
      'cannot start workers: Node may not start programs (--permission); add --allow-child-process',
    )
  })

  test.for<[string, (path: string) => Readonly<Record<string, unknown>>]>([
    ['clients.passwords', (path) => ({ clients: { passwords: path } })],
    ['policy.candidate', (path) => ({ policy: { candidate: path } })],
    [
      'listen[0].tls.cert',
      (path) => ({ listen: [{ address: '127.0.0.1:0', tls: { cert: path, key: path } }] }),
    ],
    ['admin.tokenFile', (path) => ({ admin: { listen: '127.0.0.1:0', tokenFile: path } })],
  ])('%s needs a grant of its own, and it says so', async ([key, settings]) => {
    const path = join(folderForTest(), 'file')
    writeFileSync(path, '')
    const start = GateProcess.start({ wire: 'portable', ...settings(path) }, { nodeOptions: leastGrants })
    await expect(start).rejects.toThrow(`${key}: `)
  })

  test.for<[string, (file: string) => string, boolean]>([
    ['file', (file) => file, false],
    ['folder', dirname, true],
  ])('with a grant for its %s alone a change is noticed: %s', async ([, granted, noticed]) => {
    const lab = await openProcessLab()
    let config = ''
    const gate = await lab.gate(
      { wire: 'portable' },
      {
        nodeOptions(file) {
          config = file
          return [...leastGrants(file, ['configuration file']), `--allow-fs-read=${granted(file)}`]
        },
      },
    )
    const reloaded = () => gate.audit.records.find(({ event }) => event.action === 'gate-reloaded')
    writeFileSync(config, `${readFileSync(config, 'utf8')}\n# changed\n`)
    if (!noticed) gate.child.kill('SIGHUP')
    await until(() => reloaded() !== undefined, 'the reload')
    expect(reloaded()?.sallyport['trigger']).toBe(noticed ? 'file' : 'signal')
    expect(gate.stderr.includes('changes of files go unnoticed')).toBe(!noticed)
  })

  test('an audit file needs grants of its own, for that file', async () => {
    const lab = await openProcessLab()
    const path = join(folderForTest(), 'audit.ndjson')
    const settings = { wire: 'portable', audit: { file: { path } } }
    await expect(lab.gate(settings, { nodeOptions: leastGrants })).rejects.toThrow(
      `cannot open audit.file ${path}`,
    )
    expect(existsSync(path)).toBe(false)
    const gate = await lab.gate(settings, {
      nodeOptions: (file) => [...leastGrants(file), `--allow-fs-read=${path}`, `--allow-fs-write=${path}`],
    })
    expect(await lab.ask(gate)).toContain(' 200 ')
    await gate.stop()
    expect(readFileSync(path, 'utf8')).toContain('gate-stopped')
  })

  test.runIf(kernel)(
    'the kernel wire needs --allow-addons; without it the portable one serves, and says why',
    async () => {
      const lab = await openProcessLab()
      const without = await lab.gate({ wire: 'auto' }, { nodeOptions: leastGrants })
      expect(without.audit.records[0]?.sallyport).toMatchObject({ wire: 'portable' })
      expect(without.audit.records[0]?.sallyport['wire_fallback']).toMatch(/addon/)
      const granted = await lab.gate(
        { wire: 'kernel' },
        { nodeOptions: (file) => [...leastGrants(file), '--allow-addons'] },
      )
      const client = await lab.tunnel(granted)
      client.finish()
      expect(await client.ended()).toBe('fin')
    },
  )

  test('what it does not need is refused', async () => {
    const probe = join(folderForTest(), 'written')
    const { stdout } = await promisify(execFile)(process.execPath, [
      ...leastGrants('/nonexistent'),
      `--allow-fs-read=${PROBE}`,
      PROBE,
      probe,
    ])
    expect(JSON.parse(stdout)).toEqual({
      'read a file': 'ERR_ACCESS_DENIED',
      'write a file': 'ERR_ACCESS_DENIED',
      'start a program': 'ERR_ACCESS_DENIED',
      'start a thread': 'ERR_ACCESS_DENIED',
      'load native code': 'ERR_DLOPEN_DISABLED',
      'make code from text': 'EvalError',
      'reach a prototype by name': 'no __proto__',
    })
    expect(existsSync(probe)).toBe(false)
  })
})

test('the document names the options that are tested here', () => {
  const document = readFileSync(new URL('../../docs/hardening.md', import.meta.url), 'utf8')
  const flags = new Set(leastGrants('x').map((option) => option.split('=')[0] ?? ''))
  for (const flag of [...flags, '--allow-addons', '--allow-fs-write']) expect(document).toContain(flag)
})
