/** Packet filter and redirection for a workload whose packets this machine passes on, such as a container. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { startBehind } from './lab/behind.ts'
import type { Behind } from './lab/behind.ts'
import { gateConfig, node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { addressesOutside, OUTSIDE_BLOCKS, startOutside } from './lab/outside.ts'
import type { Outside } from './lab/outside.ts'
import { run, tidyEnv } from './lab/programs.ts'
import type { Finished } from './lab/programs.ts'
import { isDecision, parseRecords } from './lab/records.ts'
import { Scope } from './lab/scope.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['ip', 'nft', 'dnsmasq', 'openssl', 'curl'],
})
const HOST = 'cgr.dev'
const [[one], [never]] = [addressesOutside(1), addressesOutside(9)]
const PORT = 3129
const URL_OF_HOST = `https://${HOST}/`
const at = (address: string): string[] => ['--resolve', `${HOST}:443:${address}`]

describe.skipIf(lab.missing)(`a workload behind this machine${lab.because}`, () => {
  const scope = new Scope()
  let outside: Outside
  let behind: Behind
  let config: string
  let before: string

  beforeAll(async () => {
    outside = await startOutside(scope, HOST)
    behind = await startBehind(scope, outside, HOST)
    await outside.rotate(HOST, [one])
    before = await outside.ruleset()
    config = writeConfig(
      scope,
      gateConfig(3128, outside.nameserver, {
        transparent: `0.0.0.0:${PORT}`,
        policy: { presets: [], allow: [{ host: HOST }] },
        addresses: { allow: OUTSIDE_BLOCKS },
        clients: { allow: ['10.78.0.0/24'] },
      }),
    )
  })
  afterAll(() => scope.close())
  afterEach(async () => {
    await firewall('nftables', '--remove')
    await firewall('redirect', '--remove')
    const left = await outside.ruleset()
    if (left !== before) throw new Error(`--remove left a trace:\n${left}`)
  })

  const firewall = (...args: string[]): Promise<Finished> =>
    outside.inside(node, [sallyport, 'firewall', ...args, '--config', config], { cwd: root })
  const curl = async (...args: string[]): Promise<string | undefined> => {
    const limits = ['-sS', '--cacert', outside.authority.file, '--connect-timeout', '3']
    const { code, stdout } = await behind.run('curl', ...limits, ...args, URL_OF_HOST)
    return code === 0 ? stdout.trim().replace('::ffff:', '') : undefined
  }
  /** Whether a connection from outside gets in to the workload. */
  const getsIn = async (): Promise<boolean> => {
    const args = ['-sSk', '--connect-timeout', '3', `https://${behind.address}/`]
    const curl = ['netns', 'exec', outside.outer, 'curl', ...args]
    return (await run('ip', curl, { env: tidyEnv(scope.folder) })).code === 0
  }

  test('--interface filters what it sends, and nothing else', async () => {
    expect(await curl(...at(never))).toBe(never)
    expect(await firewall('nftables', '--apply', '--interface', behind.interface)).toMatchObject({ code: 0 })
    expect(await curl()).toBe(one)
    expect(await curl(...at(never))).toBeUndefined()
    expect(await outside.fetch(URL_OF_HOST, ...at(never))).toBe(never)
    expect(await getsIn()).toBe(true)
  })

  test('--ingress related keeps new connections from outside away, and answers pass', async () => {
    const related = ['--interface', behind.interface, '--ingress', 'related']
    expect(await firewall('nftables', '--apply', ...related)).toMatchObject({ code: 0 })
    expect(await getsIn()).toBe(false)
    expect(await curl()).toBe(one)
    // Other settings take the place of these, in one transaction.
    await firewall('nftables', '--apply', '--interface', behind.interface)
    expect(await getsIn()).toBe(true)
    expect(await curl(...at(never))).toBeUndefined()
  })

  test('redirect --interface sends its TLS to the gate, which goes out in its place', async () => {
    const gate = await outside.startInside({
      name: 'the gate',
      command: node,
      args: [sallyport, 'serve', '--config', config],
      cwd: root,
      env: tidyEnv(scope.folder),
      ready: ({ stdout }) => stdout().includes('gate-started'),
    })
    expect(await firewall('redirect', '--apply', '--interface', behind.interface)).toMatchObject({ code: 0 })
    expect(await curl(...at(never))).toBe(one)
    const records = parseRecords(gate.stdout()).filter(isDecision)
    expect(records).toMatchObject([
      {
        event: { action: 'tunnel-opened' },
        source: { ip: behind.address },
        sallyport: { listener: 'transparent' },
      },
    ])
    await gate.stop()
  })
})
