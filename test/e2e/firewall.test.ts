/** `sallyport firewall nftables` on a machine of its own, with a name server that changes its answers every other second. */
import { chmodSync, writeFileSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { gateConfig, node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { addressesOutside, OUTSIDE_BLOCKS, startOutside, TTL_SECONDS } from './lab/outside.ts'
import type { Outside } from './lab/outside.ts'
import { Scope } from './lab/scope.ts'
import type { Finished } from './lab/programs.ts'
import { tidyEnv } from './lab/programs.ts'
import type { Service } from './lab/service.ts'
import { eventually, within } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['ip', 'nft', 'dnsmasq', 'openssl', 'curl', 'setpriv'],
})
const HOST = 'cgr.dev'
const GRACE = '1s'
const [[one], [two, twoSix], [never]] = [addressesOutside(1), addressesOutside(2), addressesOutside(9)]
const at = (address: string): string[] => ['--resolve', `${HOST}:443:${address}`]
const URL_OF_HOST = `https://${HOST}/`

describe.skipIf(lab.missing)(`sallyport firewall nftables${lab.because}`, () => {
  const scope = new Scope()
  let outside: Outside
  let config: string
  let before: string

  beforeAll(async () => {
    outside = await startOutside(scope, HOST)
    config = writeConfig(scope, settings([HOST]))
    before = await outside.ruleset()
  })
  afterAll(() => scope.close())
  afterEach(async () => {
    await firewall('--remove')
    const left = await outside.ruleset()
    if (left !== before) throw new Error(`--remove left a trace:\n${left}`)
  })

  const settings = (hosts: readonly string[], more: Record<string, unknown> = {}): Record<string, unknown> =>
    gateConfig(3128, outside.nameserver, {
      policy: { presets: [], allow: hosts.map((host) => ({ host })) },
      addresses: { allow: OUTSIDE_BLOCKS },
      firewall: { type: 'nftables', grace: GRACE },
      ...more,
    })

  const firewall = (...args: string[]): Promise<Finished> =>
    outside.inside(node, [sallyport, 'firewall', 'nftables', '--config', config, ...args], { cwd: root })

  const watch = (file = config): Promise<Service> =>
    outside.startInside({
      name: 'the watch',
      command: node,
      args: [sallyport, 'firewall', 'nftables', '--watch', '--config', file],
      cwd: root,
      env: tidyEnv(scope.folder),
      ready: ({ stderr }) => stderr().includes(`${HOST}: `),
    })

  test('--apply lets out to the addresses of now, and to nothing else; twice changes nothing', async () => {
    await outside.rotate(HOST, [one])
    expect(await outside.fetch(URL_OF_HOST, ...at(never))).toBe(never)

    expect(await firewall('--apply', '--grace', '60s')).toMatchObject({ code: 0, stdout: '' })
    expect(await outside.fetch(URL_OF_HOST)).toBe(one)
    expect(await outside.fetch(URL_OF_HOST, ...at(never))).toBeUndefined()
    expect((await outside.inside('nft', ['list', 'counter', 'inet', 'sallyport', 'dropped'])).stdout).toMatch(
      /packets [1-9]/,
    )
    expect(await outside.fetch(`http://${one}:80/`)).toBeUndefined()

    const counted = async (): Promise<string> =>
      (await outside.inside('nft', ['list', 'table', 'inet', 'sallyport'])).stdout.replace(/expires \w+/g, '')
    const first = await counted()
    expect((await firewall('--apply', '--grace', '60s')).code).toBe(0)
    expect(await counted()).toBe(first)
  })

  test('a rotated address is reachable before use, and not any more after its time; a download survives', async () => {
    await outside.rotate(HOST, [one])
    const service = await watch()
    expect(await outside.fetch(URL_OF_HOST)).toBe(one)
    const pieces = 160
    const download = outside.inside('curl', [
      '-sS',
      '--cacert',
      outside.authority.file,
      '-o',
      scope.path('download'),
      ...at(one),
      '-w',
      '%{size_download}',
      `${URL_OF_HOST}drip/${pieces}/50`,
    ])

    await outside.rotate(HOST, [two, twoSix])
    // By name, as the name server says it now: whatever the watch knows yet.
    for (let time = 0; time < 5; time += 1) {
      expect([two, twoSix, one]).toContain(await outside.fetch(URL_OF_HOST))
    }
    await eventually('the end of the old address', 20_000, async () => {
      const listed = (await outside.inside('nft', ['list', 'set', 'inet', 'sallyport', 'allowed4'])).stdout
      return listed.includes(two) && !listed.includes(`${one} `)
    })
    expect(await outside.fetch(URL_OF_HOST, ...at(one))).toBeUndefined()
    expect(await outside.fetch(URL_OF_HOST, ...at(two))).toBe(two)
    expect(await outside.fetch(URL_OF_HOST, ...at(`[${twoSix}]`))).toBe(twoSix)
    expect(await within('end of the download', 30_000, download)).toMatchObject({
      code: 0,
      stdout: String(pieces * 16_384),
    })

    // Long after the first TTL, what is current is still let in.
    await new Promise((resolve) => {
      setTimeout(resolve, TTL_SECONDS * 1000 + 1500)
    })
    expect(await outside.fetch(URL_OF_HOST)).toMatch(/^(198\.51\.100\.2|2001:db8:77::2)$/)
    expect(await service.stop()).toMatchObject({ code: 0 })
    expect(service.stderr()).toContain('the table inet sallyport stays')
    await eventually('the end of every address', 10_000, async () => {
      const { stdout } = await outside.inside('nft', ['list', 'set', 'inet', 'sallyport', 'allowed4'])
      return !stdout.includes('elements')
    })
    expect(await outside.fetch(URL_OF_HOST)).toBeUndefined()
  })

  test('--watch puts back a table that somebody has flushed', async () => {
    await outside.rotate(HOST, [one])
    const service = await watch()
    await outside.inside('nft', ['flush', 'ruleset'])
    expect(await outside.fetch(URL_OF_HOST, ...at(never))).toBe(never)
    await eventually('the table again', 30_000, async () => (await outside.ruleset()).includes('allowed4'))
    expect(await outside.fetch(URL_OF_HOST)).toBe(one)
    expect(await outside.fetch(URL_OF_HOST, ...at(never))).toBeUndefined()
    await service.stop()
  })

  test('--watch goes along with the configuration, and on with the old one where the new one is wrong', async () => {
    const other = 'other.test'
    await outside.rotate(HOST, [one])
    await outside.rotate(other, [two])
    const lasting = (hosts: readonly string[]): string =>
      stringify(
        settings(hosts, { firewall: { type: 'nftables', grace: '30m' }, limits: { dialTimeout: '3s' } }),
      )
    const file = writeConfig(scope, lasting([HOST]))
    const service = await watch(file)
    expect(await outside.fetch(URL_OF_HOST, ...at(one))).toBe(one)
    expect(await outside.fetch(URL_OF_HOST, ...at(two))).toBeUndefined()

    writeFileSync(file, 'policy: { nonsense: true }')
    await eventually('a refusal', 15_000, () => service.stderr().includes('not reloaded'))
    service.child.kill('SIGHUP')
    await eventually('another one', 15_000, () => service.stderr().split('not reloaded').length === 3)
    expect(await outside.fetch(URL_OF_HOST, ...at(one))).toBe(one)

    writeFileSync(file, lasting([other]))
    await eventually('a reload', 15_000, () => service.stderr().includes('sallyport: reloaded'))
    expect(await outside.fetch(URL_OF_HOST, ...at(two))).toBe(two)
    await eventually('the end of the old host', 60_000, async () => {
      const { stdout } = await outside.inside('nft', ['list', 'set', 'inet', 'sallyport', 'allowed4'])
      return !stdout.includes(`${one} `)
    })
    await service.stop()
  })

  test("--watch follows the system's resolvers", async () => {
    await outside.rotate(HOST, [one])
    const service = await watch(writeConfig(scope, settings([HOST], { dns: { servers: [] } })))
    expect(await outside.ruleset()).toContain('10.77.0.1 . 53')
    outside.setResolvers(['10.77.0.1', '10.77.0.9'])
    await eventually('rules for the new ones', 40_000, async () =>
      (await outside.ruleset()).includes('10.77.0.9 . 53'),
    )
    // Said once it holds.
    await eventually('the word of it', 10_000, () =>
      service.stderr().includes('other resolvers, which may be asked now: 10.77.0.1, 10.77.0.9'),
    )
    await service.stop()
    outside.setResolvers(['10.77.0.1'])
  })

  test('there is no moment without rules, and none without an address, while the table is loaded over and over', async () => {
    await outside.rotate(HOST, [one])
    const { stdout } = await firewall('--print', '--grace', '60s')
    const script = scope.path('rules.nft')
    writeFileSync(script, stdout)
    await outside.inside('nft', ['-f', script])
    // What is sent to the filter, and what comes out of it: a packet that is lost between is one too many.
    const counting = (address: string, counter: string): string =>
      `ip daddr ${address} tcp dport 443 tcp flags & (syn | ack) == syn counter name "${counter}"`
    await outside.inside('nft', ['-f', '-'], {
      input: `table inet probe {
        counter sent { }
        counter passed { }
        counter slipped { }
        chain before { type filter hook output priority -10; ${counting(one, 'sent')}; }
        chain after { type filter hook output priority 10; ${counting(one, 'passed')}; ${counting(never, 'slipped')}; }
      }`,
    })
    const done = scope.path('knocked')
    const load = `loads=0; until [ -e ${done} ]; do nft -f ${script} || exit 1; loads=$((loads + 1)); done; echo $loads`
    const knocker = new URL('lab/knock.ts', import.meta.url).pathname
    const [loading, knocking] = await Promise.all([
      outside.inside('sh', ['-c', load]),
      outside.inside(node, [knocker, one, never, '3000']).finally(() => writeFileSync(done, '')),
    ])
    const packets = async (counter: string): Promise<number> => {
      const { stdout } = await outside.inside('nft', ['list', 'counter', 'inet', 'probe', counter])
      return Number(/packets (\d+)/.exec(stdout)?.[1])
    }
    const [sent, passed, slipped] = [await packets('sent'), await packets('passed'), await packets('slipped')]
    await outside.inside('nft', ['delete', 'table', 'inet', 'probe'])
    expect(loading.code).toBe(0)
    expect(Number(loading.stdout)).toBeGreaterThan(1)
    const found: unknown = JSON.parse(knocking.stdout)
    expect(found).toMatchObject({ knocks: expect.toSatisfy((knocks) => knocks > 0), forbidden: 0 })
    expect({ sent, passed, slipped }).toEqual({
      sent: expect.toSatisfy((count) => count > 0),
      passed: sent,
      slipped: 0,
    })
  })

  test('filters one user only, where one is named', async () => {
    await outside.rotate(HOST, [one])
    expect((await firewall('--apply', '--user', '65533', '--grace', '60s')).code).toBe(0)
    expect(await outside.fetch(URL_OF_HOST, ...at(never))).toBe(never)
    const asUser = (address: string): Promise<Finished> =>
      outside.inside('setpriv', [
        '--reuid=65533',
        '--clear-groups',
        'curl',
        '-sk',
        '--connect-timeout',
        '2',
        ...at(address),
        URL_OF_HOST,
      ])
    expect((await asUser(never)).code).not.toBe(0)
    expect((await asUser(one)).code).toBe(0)
  })

  test('needs of all the rights of root one capability, as the shipped unit gives it', async () => {
    await outside.rotate(HOST, [one])
    const caps = ['--inh-caps', '--ambient-caps', '--bounding-set'].map((set) => `${set}=-all,+net_admin`)
    const user = ['--reuid=65533', '--regid=65533', '--clear-groups', '--no-new-privs']
    chmodSync(scope.folder, 0o755)
    const applied = await outside.inside(
      'setpriv',
      [...caps, ...user, node, sallyport, 'firewall', 'nftables', '--apply', '--config', config],
      { cwd: root },
    )
    expect(applied).toMatchObject({ code: 0 })
    expect(await outside.ruleset()).toContain('allowed4')
  })

  test('--remove takes the rules away also where the configuration is wrong', async () => {
    await outside.rotate(HOST, [one])
    expect((await firewall('--apply')).code).toBe(0)
    const wrong = writeConfig(scope, 'policy: { nonsense: true }')
    const removed = await outside.inside(
      node,
      [sallyport, 'firewall', 'nftables', '--remove', '--config', wrong],
      { cwd: root },
    )
    expect(removed).toMatchObject({
      code: 0,
      stderr: expect.stringMatching(/nonsense.*the table inet sallyport/),
    })
    expect(await outside.ruleset()).toBe(before)
  })

  test('--print shows rules that nft takes as they are, and changes nothing', async () => {
    await outside.rotate(HOST, [one, twoSix])
    const printed = await firewall('--print', '--interface', 'wire', '--ingress', 'related', '--log')
    expect(printed).toMatchObject({ code: 0, stderr: '' })
    expect(await outside.ruleset()).toBe(before)
    expect(printed.stdout).toContain(`${one} . 443 timeout 3s`)
    expect(printed.stdout).toContain(`${twoSix} . 443 timeout 3s`)
    expect(await outside.inside('nft', ['-c', '-f', '-'], { input: printed.stdout })).toMatchObject({
      code: 0,
    })
  })

  describe('says what is wrong, and changes nothing', () => {
    test('without permission', async () => {
      await outside.rotate(HOST, [one])
      const { code, stderr } = await outside.inside(
        'setpriv',
        [
          '--bounding-set=-net_admin',
          '--inh-caps=-net_admin',
          node,
          sallyport,
          'firewall',
          'nftables',
          '--apply',
          '--config',
          config,
        ],
        { cwd: root },
      )
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringMatching(/CAP_NET_ADMIN/) })
      expect(await outside.ruleset()).toBe(before)
    })

    test('without nft', async () => {
      await outside.rotate(HOST, [one])
      const { code, stderr } = await outside.inside(
        'unshare',
        [
          '--mount',
          'sh',
          '-c',
          'mount -t tmpfs none /usr/sbin && PATH=/nonexistent exec "$@"',
          'sh',
          node,
          sallyport,
          'firewall',
          'nftables',
          '--apply',
          '--config',
          config,
        ],
        { cwd: root },
      )
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringMatching(/no nft program/) })
    })

    test('where no host has an address', async () => {
      await outside.rotate(HOST, [])
      const { code, stderr } = await firewall('--apply')
      expect(code).toBe(1)
      expect(stderr).toMatch(/nothing was changed/)
      expect(await outside.ruleset()).toBe(before)
    })

    test('where the table is not ours', async () => {
      await outside.rotate(HOST, [one])
      await outside.inside('nft', ['-f', '-'], {
        input: 'table inet filter { chain input { type filter hook input priority 0; tcp dport 22 drop; }; }',
      })
      const theirs = await outside.ruleset()
      const outcomes: Finished[] = []
      for (const action of ['--apply', '--watch', '--remove'])
        outcomes.push(await firewall(action, '--table', 'filter'))
      const left = await outside.ruleset()
      await outside.inside('nft', ['delete', 'table', 'inet', 'filter'])
      expect(left).toBe(theirs)
      const refused = {
        code: 2,
        stderr: expect.stringMatching(/inet filter was not made by this command.*nothing was changed/),
      }
      expect(outcomes).toMatchObject([refused, refused, refused])
    })

    test('with a user that does not exist', async () => {
      await outside.rotate(HOST, [one])
      const { code, stderr } = await firewall('--apply', '--user', 'nosuchuser')
      expect({ code, stderr }).toMatchObject({ code: 2, stderr: expect.stringMatching(/no such user/) })
      expect(await outside.ruleset()).toBe(before)
    })
  })
})
