/** The transparent listener on a machine of its own: curl that knows no proxy, and nftables that redirects it. */
import { chmodSync } from 'node:fs'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { gateConfig, node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { addressesOutside, OUTSIDE_BLOCKS, startOutside } from './lab/outside.ts'
import type { Outside } from './lab/outside.ts'
import { tidyEnv } from './lab/programs.ts'
import type { Finished } from './lab/programs.ts'
import { isDecision, parseRecords } from './lab/records.ts'
import type { AuditRecord } from './lab/records.ts'
import { Scope } from './lab/scope.ts'
import type { Service } from './lab/service.ts'
import { eventually } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  root: true,
  programs: ['ip', 'nft', 'dnsmasq', 'openssl', 'curl', 'setpriv'],
})
const HOST = 'cgr.dev'
const MISTYPED = 'cgr.dv'
const [[one, oneSix], [never]] = [addressesOutside(1), addressesOutside(9)]
const PORT = 3129
const USER = '65533'
const URL_OF_HOST = `https://${HOST}/`

describe.skipIf(lab.missing).each([1, 2])(`a transparent listener, workers: %i${lab.because}`, (workers) => {
  const scope = new Scope()
  let outside: Outside
  let config: string
  let gate: Service
  let before: string

  beforeAll(async () => {
    outside = await startOutside(scope, HOST)
    // The redirected user reads the authority's certificate there.
    chmodSync(scope.folder, 0o755)
    await outside.rotate(HOST, [one, oneSix])
    before = await outside.ruleset()
    config = writeConfig(
      scope,
      gateConfig(3128, outside.nameserver, {
        transparent: [`127.0.0.1:${PORT}`, `[::1]:${PORT}`],
        policy: { presets: [], allow: [{ host: HOST }] },
        addresses: { allow: OUTSIDE_BLOCKS },
        // A redirected connection keeps the address that it was to leave from.
        clients: { allow: ['127.0.0.0/8', '::1/128', '10.77.0.2/32', 'fd00:77::2/128'] },
        workers,
      }),
    )
    gate = await outside.startInside({
      name: 'the gate',
      command: node,
      args: [sallyport, 'serve', '--config', config],
      cwd: root,
      env: tidyEnv(scope.folder),
      ready: ({ stdout }) => stdout().includes('gate-started'),
    })
  })
  afterAll(() => scope.close())
  afterEach(async () => {
    await redirect('--remove')
    const left = await outside.ruleset()
    if (left !== before) throw new Error(`--remove left a trace:\n${left}`)
  })

  const redirect = (...args: string[]): Promise<Finished> =>
    outside.inside(node, [sallyport, 'firewall', 'redirect', '--config', config, ...args], { cwd: root })

  /** curl of the user who is redirected; it has never heard of a proxy. The certificate is checked. */
  const curl = (url: string, ...args: string[]): Promise<Finished> =>
    outside.inside('setpriv', [
      `--reuid=${USER}`,
      '--clear-groups',
      'curl',
      '-sS',
      '--cacert',
      outside.authority.file,
      '--connect-timeout',
      '4',
      ...args,
      url,
    ])

  const decisions = (): AuditRecord[] => parseRecords(gate.stdout()).filter(isDecision)
  const nextDecision = async (seen: number): Promise<AuditRecord> =>
    eventually('a decision', 10_000, () => decisions()[seen])

  test('serves curl that knows no proxy; the host comes from its ClientHello, and the address from DNS', async () => {
    expect(await redirect('--apply', '--user', USER)).toMatchObject({ code: 0, stderr: '' })
    const families: readonly [string, string, string][] = [
      ['-4', '10.77.0.2', never],
      ['-6', 'fd00:77::2', addressesOutside(9)[1]],
    ]
    for (const [family, source, elsewhere] of families) {
      const seen = decisions().length
      // What curl believes the address to be does not matter.
      const wrong = ['--resolve', `${HOST}:443:${family === '-6' ? `[${elsewhere}]` : elsewhere}`]
      for (const more of [[], wrong]) {
        const { code, stdout, stderr } = await curl(URL_OF_HOST, family, ...more)
        expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
        expect([one, oneSix]).toContain(stdout.trim().replace('::ffff:', ''))
      }
      expect(await nextDecision(seen)).toMatchObject({
        event: { action: 'tunnel-opened', reason: 'allowed' },
        source: { ip: source },
        destination: { domain: HOST, port: 443 },
        rule: { name: `${HOST}:443` },
        sallyport: { listener: 'transparent' },
      })
    }
    // Everybody else goes their own way.
    expect(await outside.fetch(URL_OF_HOST, '--resolve', `${HOST}:443:${never}`)).toBe(never)
  })

  test('refuses with an alert what the policy does not allow, and says why in the record', async () => {
    await redirect('--apply', '--user', USER)
    const seen = decisions().length
    const { code, stderr } = await curl(`https://${MISTYPED}/`, '--resolve', `${MISTYPED}:443:${never}`)
    expect({ code, stderr }).toMatchObject({ code: 35, stderr: expect.stringMatching(/alert access denied/) })
    expect(await nextDecision(seen)).toMatchObject({
      event: { action: 'tunnel-denied', reason: 'host_not_allowed' },
      destination: { domain: MISTYPED, port: 443 },
      sallyport: { listener: 'transparent', hint: HOST },
    })
  })

  test('with the packet filter for the same user, nothing gets past it', async () => {
    const filter = (...args: string[]): Promise<Finished> =>
      outside.inside(node, [sallyport, 'firewall', 'nftables', '--config', config, ...args], { cwd: root })
    await redirect('--apply', '--user', USER)
    expect(await filter('--apply', '--user', USER)).toMatchObject({ code: 0 })
    try {
      expect((await curl(URL_OF_HOST)).code).toBe(0)
      expect((await curl(`http://${one}:8080/`, '--max-time', '2')).code).toBe(28)
      const dropped = await outside.inside('nft', ['list', 'counter', 'inet', 'sallyport', 'dropped'])
      expect(dropped.stdout).toMatch(/packets [1-9]/)
    } finally {
      await filter('--remove')
    }
  })

  test("redirecting the gate's own user too ends at once, with the reason on record", async () => {
    await redirect('--apply', '--user', '0', '--user', USER)
    const seen = decisions().length
    expect((await curl(URL_OF_HOST, '-4')).code).toBe(35)
    const loop = await eventually('the end of the loop', 10_000, () =>
      decisions()
        .slice(seen)
        .find(({ event }) => event.reason === 'redirect_loop'),
    )
    expect(loop.sallyport.listener).toBe('transparent')
    expect(decisions().length - seen).toBeLessThanOrEqual(2 * (workers + 1))

    await redirect('--apply', '--user', '0', '--user', USER, '--exempt', '0')
    expect((await curl(URL_OF_HOST, '-4')).code).toBe(0)
  })

  test('takes the place of a redirection for others only where that is said, and of no other table', async () => {
    await redirect('--apply', '--user', USER)
    const first = await outside.ruleset()
    expect(await redirect('--apply', '--user', '65532')).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/redirects others already.*--table.*--replace/),
    })
    expect(await outside.ruleset()).toBe(first)
    // For the same it may be loaded again, and changed in what else there is.
    expect(await redirect('--apply', '--user', USER, '--exempt', '0')).toMatchObject({ code: 0 })
    expect(await redirect('--apply', '--user', '65532', '--replace')).toMatchObject({ code: 0 })
    expect(await outside.ruleset()).not.toContain(USER)

    await outside.inside('nft', ['add', 'table', 'inet', 'theirs'])
    for (const args of [['--apply', '--user', USER, '--replace'], ['--remove']]) {
      expect(await redirect(...args, '--table', 'theirs')).toMatchObject({
        code: 2,
        stderr: expect.stringMatching(/was not made by this command/),
      })
    }
    await outside.inside('nft', ['delete', 'table', 'inet', 'theirs'])
  })

  test('says what is missing for rules, and changes nothing', async () => {
    const wrong: readonly [readonly string[], RegExp][] = [
      [['--apply'], /whose connections/],
      [['--apply', '--interface', 'wire'], /on loopback/],
      [['--apply', '--user', 'no such user'], /expected the name or the number of a user/],
      [['--apply', '--remove'], /choose one/],
    ]
    for (const [args, message] of wrong) {
      expect(await redirect(...args)).toMatchObject({ code: 2, stderr: expect.stringMatching(message) })
    }
    expect(await outside.ruleset()).toBe(before)
    const printed = await redirect('--print', '--user', USER)
    expect(await outside.inside('nft', ['-c', '-f', '-'], { input: printed.stdout })).toMatchObject({
      code: 0,
    })
    expect(await outside.ruleset()).toBe(before)
  })
})
