/** `firewall: nftables`: the running gate keeps its packet filter itself, with one process and with several. */
import { writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { gateConfig, node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { addressesOutside, OUTSIDE_BLOCKS, startOutside } from './lab/outside.ts'
import type { Outside } from './lab/outside.ts'
import { tidyEnv } from './lab/programs.ts'
import { parseRecords } from './lab/records.ts'
import type { AuditRecord } from './lab/records.ts'
import { Scope } from './lab/scope.ts'
import type { Service } from './lab/service.ts'
import { eventually, within } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['ip', 'nft', 'dnsmasq', 'openssl', 'curl', 'setpriv'],
})
const HOST = 'cgr.dev'
const [[one], [two], [three]] = [addressesOutside(1), addressesOutside(2), addressesOutside(3)]
const [[never]] = [addressesOutside(9)]
const PORT = 3128
const PROXY = ['-x', `http://127.0.0.1:${PORT}`, '--noproxy', '']
const URL_OF_HOST = `https://${HOST}/`
const direct = (address: string): string[] => ['--resolve', `${HOST}:443:${address}`]

describe.skipIf(lab.missing).each([1, 2])(
  `a gate with firewall: nftables, workers: %i${lab.because}`,
  (workers) => {
    const scope = new Scope()
    let outside: Outside
    let before: string

    beforeAll(async () => {
      outside = await startOutside(scope, HOST)
      before = await outside.ruleset()
    })
    afterAll(() => scope.close())
    afterEach(async () => {
      await outside.inside(node, [sallyport, 'firewall', 'nftables', '--remove'], { cwd: root })
      const left = await outside.ruleset()
      if (left !== before) throw new Error(`--remove left a trace:\n${left}`)
    })

    const settings = (hosts: readonly string[]): Record<string, unknown> =>
      gateConfig(PORT, outside.nameserver, {
        policy: { presets: [], allow: hosts.map((host) => ({ host })) },
        addresses: { allow: OUTSIDE_BLOCKS },
        firewall: { type: 'nftables', grace: '1s' },
        workers,
      })
    const serve = (config = writeConfig(scope, settings([HOST]))): Promise<Service> =>
      outside.startInside({
        name: 'the gate',
        command: node,
        args: [sallyport, 'serve', '--config', config],
        cwd: root,
        env: tidyEnv(scope.folder),
        ready: ({ stdout }) => stdout().includes('gate-started'),
      })
    const opened = (gate: Service): AuditRecord[] =>
      parseRecords(gate.stdout()).filter(({ event }) => event.action === 'tunnel-opened')
    const listed = async (): Promise<string> =>
      (await outside.inside('nft', ['list', 'set', 'inet', 'sallyport', 'allowed4'])).stdout

    test('lets each address in before it dials it, and nobody out to another', async () => {
      await outside.rotate(HOST, [one])
      const gate = await serve()
      expect(await outside.fetch(URL_OF_HOST, ...direct(one))).toBeUndefined()
      for (const address of [one, two, three]) {
        await outside.rotate(HOST, [address])
        await eventually(
          `a tunnel to ${address}`,
          15_000,
          async () => (await outside.fetch(URL_OF_HOST, ...PROXY)) === address,
        )
      }
      expect(await outside.fetch(URL_OF_HOST, ...direct(never))).toBeUndefined()
      // A first packet that was dropped would have been sent again after a second.
      const dials = opened(gate).flatMap(({ sallyport: { dial } }) => dial ?? [])
      expect(dials.length).toBeGreaterThanOrEqual(3)
      expect(dials.filter(({ result, ms }) => result !== 'connected' || ms >= 900)).toEqual([])
      await eventually(
        'the end of the first addresses',
        10_000,
        async () => !(await listed()).includes(`${one} `),
      )
      expect(await outside.fetch(URL_OF_HOST, ...direct(one))).toBeUndefined()
      await gate.stop()
      // What guards does not vanish with its keeper.
      expect(await outside.fetch(URL_OF_HOST, ...direct(never))).toBeUndefined()
    })

    test('keeps the address of an open tunnel until it is closed', async () => {
      await outside.rotate(HOST, [one])
      const gate = await serve()
      const pieces = 160
      const download = outside.inside('curl', [
        '-sS',
        ...PROXY,
        '--cacert',
        outside.authority.file,
        '-o',
        scope.path('download'),
        '-w',
        '%{size_download}',
        `${URL_OF_HOST}drip/${pieces}/50`,
      ])
      await eventually('the tunnel', 10_000, () => opened(gate).length === 1)
      await outside.rotate(HOST, [two])
      await eventually(
        'a tunnel to the new address',
        15_000,
        async () => (await outside.fetch(URL_OF_HOST, ...PROXY)) === two,
      )
      // More than TTL and grace later.
      await new Promise((resolve) => {
        setTimeout(resolve, 3500)
      })
      expect(await listed()).toContain(`${one} . 443`)
      expect(await within('end of the download', 30_000, download)).toMatchObject({
        code: 0,
        stdout: String(pieces * 16_384),
      })
      await eventually('the end of its address', 10_000, async () => !(await listed()).includes(`${one} `))
      await gate.stop()
    })

    test('puts the table back when somebody has flushed it, before the next dial', async () => {
      await outside.rotate(HOST, [one])
      const gate = await serve()
      expect(await outside.fetch(URL_OF_HOST, ...PROXY)).toBe(one)
      await outside.inside('nft', ['flush', 'ruleset'])
      await outside.rotate(HOST, [two])
      await eventually(
        'a tunnel to the new address',
        15_000,
        async () => (await outside.fetch(URL_OF_HOST, ...PROXY)) === two,
      )
      expect(await outside.fetch(URL_OF_HOST, ...direct(never))).toBeUndefined()
      await gate.stop()
    })

    test('closes what a reload takes out of the policy, whatever time it had, and keeps what is in use', async () => {
      const other = 'other.test'
      await outside.rotate(HOST, [one])
      await outside.rotate(other, [two])
      const lasting = (hosts: readonly string[]): Record<string, unknown> => ({
        ...settings(hosts),
        limits: { dialTimeout: '3s' },
        firewall: { type: 'nftables', grace: '30m' },
      })
      const config = writeConfig(scope, lasting([HOST, other]))
      const gate = await serve(config)
      const download = outside.inside('curl', [
        '-sS',
        ...PROXY,
        '--cacert',
        outside.authority.file,
        '-o',
        '/dev/null',
        `${URL_OF_HOST}drip/200/50`,
      ])
      // The site's certificate is for another name, which is all the same to the filter.
      expect(await outside.fetch(`https://${other}/`, ...PROXY, '--insecure')).toBe(two)
      await eventually('both tunnels', 10_000, () => opened(gate).length === 2)
      writeFileSync(config, stringify(lasting(['third.test'])))
      gate.child.kill('SIGHUP')
      await eventually('a reload', 10_000, () => gate.stdout().includes('gate-reloaded'))
      await eventually(
        'the end of what no tunnel uses',
        60_000,
        async () => !(await listed()).includes(`${two} `),
      )
      expect(await listed()).toContain(`${one} . 443`)
      expect(await within('end of the download', 30_000, download)).toMatchObject({ code: 0 })
      await gate.stop()
    })

    test('goes along with a reload: the rules are those of the new policy', async () => {
      await outside.rotate(HOST, [one])
      const config = writeConfig(scope, settings(['other.test']))
      const gate = await serve(config)
      const stamp = async (): Promise<string | undefined> =>
        /chain (policy_\w+)/.exec(await outside.ruleset())?.[1]
      const first = await stamp()
      expect(await outside.fetch(URL_OF_HOST, ...PROXY)).toBeUndefined()
      writeFileSync(config, stringify(settings([HOST])))
      gate.child.kill('SIGHUP')
      await eventually('a reload', 10_000, () => gate.stdout().includes('gate-reloaded'))
      expect(await outside.fetch(URL_OF_HOST, ...PROXY)).toBe(one)
      expect(await stamp()).toMatch(/^policy_/)
      expect(await stamp()).not.toBe(first)
      await gate.stop()
    })

    test('does not start without the permission, and says so', async () => {
      const config = writeConfig(
        scope,
        gateConfig(PORT, outside.nameserver, { firewall: 'nftables', workers }),
      )
      const { code, stderr } = await outside.inside(
        'setpriv',
        ['--bounding-set=-net_admin', '--inh-caps=-net_admin', node, sallyport, 'serve', '--config', config],
        { cwd: root },
      )
      expect({ code, stderr }).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/CAP_NET_ADMIN.*nothing listens/),
      })
    })
  },
)
