/** The programs that take these outputs, told to check them: nothing is loaded, and every network change in a namespace. */
import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import type { RenderOptions } from '../../src/render/rendering.ts'
import { TARGETS } from '../../src/render/targets.ts'
import { needing } from '../e2e/lab/needs.ts'
import { planOf, POLICIES } from './policies.ts'
import { createRuleGroup } from './shapes.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-render-'))
afterAll(() => rmSync(folder, { recursive: true }))

const options: RenderOptions = { gateUid: 65_532, transparent: { host: '127.0.0.1', port: 3129 } }
const REDIRECTS: Readonly<Record<string, RenderOptions>> = {
  'of one user': { ...options, redirect: 1000 },
  'of all': { ...options, redirect: 'all' },
  'of all, over IPv6': { ...options, redirect: 'all', transparent: { host: '::1', port: 3129 } },
}

function write(target: string, yaml: string, how = options): string {
  const rendering = TARGETS.get(target)?.render(planOf(yaml), how)
  if (rendering?.kind !== 'text') throw new Error(`${target}: ${rendering?.why}`)
  const file = join(folder, `${target}-${Math.random().toString(36).slice(2)}`)
  writeFileSync(file, rendering.text)
  return file
}

interface Verdict {
  readonly code: number | string | null | undefined
  readonly said: string
}

function check(command: string, args: readonly string[]): Promise<Verdict> {
  const env = { ...process.env, PATH: `${process.env['PATH']}:/usr/sbin:/sbin` }
  return new Promise((resolve) => {
    execFile(command, args, { env, timeout: 15_000, encoding: 'utf8' }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, said: `${stdout}${stderr}` }),
    )
  })
}

const policies = Object.entries(POLICIES)
const clean: Verdict = { code: 0, said: '' }

const nft = await needing({ linux: true, root: true, programs: ['nft', 'unshare'] })
describe.skipIf(nft.missing)(`nft${nft.because}`, () => {
  // Twice: loading the file again replaces its table, and never fails on what is there.
  const load = (file: string) =>
    check('unshare', ['-n', 'sh', '-c', 'nft -c -f "$0" && nft -f "$0" && nft -f "$0"', file])
  test.each(policies)('takes the rules of policy %s', async (_name, yaml) => {
    expect(await load(write('nftables', yaml))).toEqual(clean)
  })
  test.each(Object.entries(REDIRECTS))('takes the redirect %s', async (_name, how) => {
    expect(await load(write('nftables', 'policy: {}', how))).toEqual(clean)
  })
})

const namespace = await needing({
  linux: true,
  root: true,
  programs: ['nft', 'unshare', 'ip', 'setpriv', 'busybox'],
})
describe.skipIf(namespace.missing)(`the redirect at work${namespace.because}`, () => {
  /** A machine with one interface that leads nowhere, the rules, and a listener that greets whoever arrives. */
  const connectAs = (user: number, how: RenderOptions | undefined) =>
    check('unshare', [
      '-n',
      'sh',
      '-c',
      `ip link set lo up && ip link add d0 type veth peer name d1 && ip address add 10.9.9.1/24 dev d0
       ip link set d0 up && ip link set d1 up
       ip route add default via 10.9.9.2
       nft -f "$0"
       echo arrived | timeout 10 busybox nc -l -p 3129 >/dev/null 2>&1 &
       until grep -q ':0C39 [0:]* 0A' /proc/net/tcp /proc/net/tcp6; do sleep 0.05; done
       setpriv --reuid ${user} --clear-groups busybox nc -w 2 10.20.0.1 443 </dev/null 2>/dev/null
       kill $! 2>/dev/null; true`,
      write('nftables', 'policy: {}', how),
    ])
  const ofOneUser = REDIRECTS['of one user']
  const ofAll = REDIRECTS['of all']

  test.each([
    ['the user it names', 1000, ofOneUser, 'arrived\n'],
    ['another user', 1001, ofOneUser, ''],
    ['any user, where it is for all', 1001, ofAll, 'arrived\n'],
    ['the gate itself, where it is for all', 65_532, ofAll, ''],
  ])('%s', async (_who, user, how, said) => {
    expect(await connectAs(user, how)).toEqual({ code: 0, said })
  })
})

const iptables = await needing({
  linux: true,
  root: true,
  programs: ['iptables-restore', 'ip6tables-restore', 'unshare'],
})
describe.skipIf(iptables.missing)(`iptables-restore${iptables.because}`, () => {
  const load = (file: string) =>
    check('unshare', [
      '-n',
      'sh',
      '-ec',
      'iptables-restore --noflush --test "$0"; ip6tables-restore --noflush --test "$0"',
      file,
    ])
  test.each(policies)('takes the rules of policy %s', async (_name, yaml) => {
    expect(await load(write('iptables', yaml))).toEqual(clean)
  })
  test.each(Object.entries(REDIRECTS))('takes the redirect %s', async (_name, how) => {
    expect(await load(write('iptables', 'policy: {}', how))).toEqual(clean)
  })
})

const squid = await needing({ linux: true, programs: ['squid'] })
describe.skipIf(squid.missing)(`squid${squid.because}`, () => {
  test.each(policies)(
    'parses the configuration of policy %s without a word of complaint',
    async (_name, yaml) => {
      const { code, said } = await check('squid', ['-k', 'parse', '-f', write('squid', yaml)])
      expect(said).not.toMatch(/WARNING|ERROR|FATAL/)
      expect(code).toBe(0)
    },
  )
})

const haproxy = await needing({ linux: true, programs: ['haproxy'] })
describe.skipIf(haproxy.missing)(`haproxy${haproxy.because}`, () => {
  test.each(policies)('accepts the configuration of policy %s', async (_name, yaml) => {
    const { code, said } = await check('haproxy', ['-c', '-f', write('haproxy', yaml)])
    expect(said).not.toMatch(/WARNING|ALERT/)
    expect(code).toBe(0)
  })
})

const suricata = await needing({ linux: true, programs: ['suricata'] })
describe.skipIf(suricata.missing)(`suricata${suricata.because}`, () => {
  test.each(policies)('accepts the AWS rules of policy %s', async (_name, yaml) => {
    const rendering = TARGETS.get('aws-network-firewall')?.render(planOf(yaml), options)
    if (rendering?.kind !== 'text') throw new Error('no text')
    const { RuleGroup } = createRuleGroup.parse(JSON.parse(rendering.text))
    const rules = join(folder, 'aws.rules')
    writeFileSync(rules, RuleGroup.RulesSource.RulesString)
    const { code, said } = await check('suricata', ['-T', '-l', folder, '-S', rules])
    expect(said).not.toMatch(/error/i)
    expect(code).toBe(0)
  })
})
