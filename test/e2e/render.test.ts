/** What `sallyport render` writes, at work in the programs that it is written for. */
import { writeFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { addressesOutside, OUTSIDE_BLOCKS, startOutside } from './lab/outside.ts'
import type { Outside } from './lab/outside.ts'
import { mustRun, tidyEnv } from './lab/programs.ts'
import { Scope } from './lab/scope.ts'

/** What is allowed is below it; nobody looks at certificates here. */
const DOMAIN = 'example.com'
const DENIED = 'denied.example.net'
const METADATA = '169.254.169.254'
const [PERMITTED] = addressesOutside(2)

const common = ['ip', 'nft', 'dnsmasq', 'openssl', 'curl']
const squid = await needing({ linux: true, root: true, programs: [...common, 'squid'] })
const haproxy = await needing({ linux: true, root: true, programs: [...common, 'haproxy'] })

describe.skipIf(squid.missing && haproxy.missing)('render, with addresses.allow', () => {
  const scope = new Scope()
  let outside: Outside

  /** Renders for the target, with the lines that a test needs behind it. */
  const write = async (target: string, more = ''): Promise<string> => {
    const config = writeConfig(scope, {
      policy: { presets: [], allow: [{ host: `*.${DOMAIN}` }] },
      addresses: { allow: OUTSIDE_BLOCKS },
      dns: { servers: [outside.nameserver] },
    })
    const { stdout } = await mustRun(node, [sallyport, 'render', target, '--config', config], { cwd: root })
    const file = scope.path(`${target}.conf`)
    writeFileSync(file, stdout + more)
    return file
  }
  const listens = async (port: number): Promise<boolean> =>
    (await outside.inside('ss', ['-Hltn', `sport = :${port}`])).stdout !== ''

  beforeAll(async () => {
    outside = await startOutside(scope, DOMAIN)
    await outside.inside('ip', ['address', 'add', `${METADATA}/32`, 'dev', 'lo'])
  })
  afterAll(() => scope.close())

  describe.skipIf(squid.missing)(`squid${squid.because}`, () => {
    const status = async (host: string): Promise<string> => {
      const through = ['-sS', '-k', '-m', '30', '-x', 'http://127.0.0.1:3128', '-w', '%{http_connect}']
      return (await outside.inside('curl', [...through, '-o', '/dev/null', `https://${host}/`])).stdout
    }

    beforeAll(async () => {
      const file = await write('squid', 'pid_filename none\naccess_log none\ncache_log /dev/null\n')
      await outside.startInside({
        name: 'squid',
        command: 'squid',
        args: ['-N', '-f', file],
        env: tidyEnv(scope.folder),
        ready: () => listens(3128),
        readyMs: 60_000,
      })
    })

    // A name for each: squid keeps every answer for a minute at least.
    test.each([
      ['a permitted address is dialled', [PERMITTED], '200'],
      ['a prohibited one is not', [METADATA], '403'],
      ['nor any of an answer that has a prohibited one', [METADATA, PERMITTED], '403'],
      ['in either order', [PERMITTED, METADATA], '403'],
    ])('%s', async (what, addresses, expected) => {
      const host = `${what.replaceAll(' ', '-')}.${DOMAIN}`
      await outside.rotate(host, addresses)
      expect(await status(host)).toBe(expected)
    })

    test('a name that is not allowed is denied', async () => {
      await outside.rotate(DENIED, [PERMITTED])
      expect(await status(DENIED)).toBe('403')
    })
  })

  describe.skipIf(haproxy.missing)(`haproxy${haproxy.because}`, () => {
    const served = (host: string): Promise<string | undefined> =>
      outside.fetch(`https://${host}/`, '-k', '--connect-to', '::127.0.0.1:443')

    beforeAll(async () => {
      const file = await write('haproxy')
      await outside.startInside({
        name: 'haproxy',
        command: 'haproxy',
        args: ['-db', '-f', file],
        env: tidyEnv(scope.folder),
        ready: () => listens(443),
        readyMs: 60_000,
      })
    })

    test('an allowed name is led to where it is', async () => {
      await outside.rotate(`here.${DOMAIN}`, [PERMITTED])
      expect(await served(`here.${DOMAIN}`)).toBe(PERMITTED)
    })

    test('an allowed name that points inside is not', async () => {
      await outside.rotate(`inside.${DOMAIN}`, [METADATA])
      expect(await served(`inside.${DOMAIN}`)).toBeUndefined()
    })

    test('a denied name is not, wherever it points', async () => {
      await outside.rotate(DENIED, [PERMITTED])
      expect(await served(DENIED)).toBeUndefined()
    })
  })
})
