import { mkdirSync, rmSync, rmdirSync, writeFileSync } from 'node:fs'
import { createAuthority } from './certificates.ts'
import type { Authority } from './certificates.ts'
import { node } from './gate.ts'
import { mustRun, run, tidyEnv } from './programs.ts'
import type { Finished, RunOptions } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'
import type { Service, ServiceOptions } from './service.ts'
import { eventually } from './wait.ts'

/** A machine of its own behind a wire, and an outside with a name server and a web site on many addresses. */
export interface Outside {
  authority: Authority
  /** As `dns.servers` takes it. */
  nameserver: string
  /** Answers for the name from now on; TTL {@link TTL_SECONDS}. */
  rotate: (host: string, addresses: readonly string[]) => Promise<void>
  /** What the inside has in its resolv.conf from now on. */
  setResolvers: (addresses: readonly string[]) => void
  /** Runs a program on the inside. */
  inside: (command: string, args: readonly string[], options?: RunOptions) => Promise<Finished>
  startInside: (options: ServiceOptions) => Promise<Service>
  /** curl on the inside, with no proxy; answers with the address that served it, or nothing where none was reached. */
  fetch: (url: string, ...args: string[]) => Promise<string | undefined>
  /** The network namespaces. */
  inner: string
  outer: string
  /** Everything that nft has on the inside, without counters and remaining lifetimes. */
  ruleset: () => Promise<string>
}

/** What `addresses.allow` has to name: the addresses of the outside are documentation ones. */
export const OUTSIDE_BLOCKS = ['198.51.100.0/24', '2001:db8:77::/48']
export const TTL_SECONDS = 2
/** Served by the web site outside. */
export const addressesOutside = (last: number): readonly [string, string] => [
  `198.51.100.${last}`,
  `2001:db8:77::${last}`,
]
const LAST = 9

let count = 0

/** Needs root, iproute2, nft, dnsmasq, openssl and curl. */
export const startOutside = async (scope: Scope, host: string): Promise<Outside> => {
  count += 1
  const [inner, outer] = [`sp${process.pid}i${count}`, `sp${process.pid}o${count}`]
  const ip = (...args: string[]) => mustRun('ip', args)
  const within = (namespace: string, command: string, args: readonly string[]): string[] => [
    'netns',
    'exec',
    namespace,
    command,
    ...args,
  ]
  for (const name of [inner, outer]) {
    await ip('netns', 'add', name)
    scope.onClose(() => ip('netns', 'del', name))
  }
  await ip('link', 'add', 'wire', 'netns', inner, 'type', 'veth', 'peer', 'name', 'wire', 'netns', outer)
  for (const [name, last, other] of [
    [inner, 2, 1],
    [outer, 1, 2],
  ] as const) {
    await ip('-n', name, 'address', 'add', `10.77.0.${last}/24`, 'dev', 'wire')
    await ip('-n', name, 'address', 'add', `fd00:77::${last}/64`, 'dev', 'wire', 'nodad')
    await ip('-n', name, 'link', 'set', 'wire', 'up')
    await ip('-n', name, 'link', 'set', 'lo', 'up')
    await ip('-n', name, 'route', 'add', 'default', 'via', `10.77.0.${other}`)
    await ip('-n', name, '-6', 'route', 'add', 'default', 'via', `fd00:77::${other}`)
  }
  for (let last = 1; last <= LAST; last += 1) {
    const [four, six] = addressesOutside(last)
    await ip('-n', outer, 'address', 'add', `${four}/32`, 'dev', 'lo')
    await ip('-n', outer, 'address', 'add', `${six}/128`, 'dev', 'lo')
  }
  // Programs of the namespace read this in place of /etc/resolv.conf.
  mkdirSync(`/etc/netns/${inner}`, { recursive: true })
  const setResolvers = (addresses: readonly string[]): void =>
    writeFileSync(
      `/etc/netns/${inner}/resolv.conf`,
      addresses.map((address) => `nameserver ${address}\n`).join(''),
    )
  setResolvers(['10.77.0.1'])
  scope.onClose(() => {
    rmSync(`/etc/netns/${inner}`, { recursive: true })
    try {
      rmdirSync('/etc/netns')
    } catch {
      // Somebody else's namespaces have files there.
    }
  })

  const authority = await createAuthority(scope)
  await authority.issue(host)
  const hosts = scope.path('outside-hosts')
  const records = new Map<string, readonly string[]>()
  writeFileSync(hosts, '')
  const dnsmasq = await startService(scope, {
    name: 'dnsmasq',
    command: 'ip',
    args: within(outer, 'dnsmasq', [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--pid-file',
      '--user=root',
      '--no-resolv',
      '--no-hosts',
      '--cache-size=0',
      '--local=/#/',
      '--log-queries',
      '--log-facility=-',
      '--no-daemon',
      `--addn-hosts=${hosts}`,
      `--local-ttl=${TTL_SECONDS}`,
      '--listen-address=10.77.0.1',
      '--bind-interfaces',
    ]),
    env: tidyEnv(scope.folder),
    ready: ({ stderr }) => stderr().includes('read '),
  })
  await startService(scope, {
    name: 'the web site outside',
    command: 'ip',
    args: within(outer, node, [
      new URL('outside-site.ts', import.meta.url).pathname,
      scope.path('certificates', `${host}.pem`),
      scope.path('certificates', `${host}.key`),
    ]),
    env: tidyEnv(scope.folder),
    ready: ({ stdout }) => stdout().includes('listening'),
  })

  const inside: Outside['inside'] = (command, args, options = {}) =>
    run('ip', within(inner, command, args), { env: tidyEnv(scope.folder), ...options })
  return {
    authority,
    nameserver: '10.77.0.1',
    inner,
    outer,
    setResolvers,
    inside,
    async rotate(name, addresses) {
      records.set(name, addresses)
      const lines = [...records].flatMap(([known, places]) => places.map((place) => `${place} ${known}\n`))
      writeFileSync(hosts, lines.join(''))
      const before = dnsmasq.stderr().split('read ').length
      dnsmasq.child.kill('SIGHUP')
      await eventually('new answers', 5_000, () => dnsmasq.stderr().split('read ').length > before)
    },
    startInside: (options) =>
      startService(scope, { ...options, command: 'ip', args: within(inner, options.command, options.args) }),
    async fetch(url, ...args) {
      const limits = ['--connect-timeout', '4', '--max-time', '15']
      const curl = ['-sS', '--noproxy', '*', '--cacert', authority.file, ...limits, ...args, url]
      const { code, stdout } = await inside('curl', curl)
      return code === 0 ? stdout.trim().replace('::ffff:', '') : undefined
    },
    async ruleset() {
      return (await inside('nft', ['-s', 'list', 'ruleset'])).stdout
    },
  }
}
