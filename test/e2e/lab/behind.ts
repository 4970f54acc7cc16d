import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { node } from './gate.ts'
import type { Outside } from './outside.ts'
import { mustRun, run, tidyEnv } from './programs.ts'
import type { Finished } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'

/** A workload, such as a container: a namespace whose packets the inside passes on. */
export interface Behind {
  /** Its side of the wire, seen from the inside. */
  interface: string
  address: string
  run: (command: string, ...args: string[]) => Promise<Finished>
}

/** It serves HTTPS on port 443 as well, for whoever gets in. */
export const startBehind = async (
  scope: Scope,
  { inner, outer, nameserver }: Outside,
  host: string,
): Promise<Behind> => {
  const name = `${inner}b`
  const ip = (...args: string[]) => mustRun('ip', args)
  await ip('netns', 'add', name)
  scope.onClose(() => ip('netns', 'del', name))
  await ip('link', 'add', 'lan', 'netns', inner, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name)
  await ip('-n', inner, 'address', 'add', '10.78.0.1/24', 'dev', 'lan')
  await ip('-n', inner, 'link', 'set', 'lan', 'up')
  await ip('-n', name, 'address', 'add', '10.78.0.2/24', 'dev', 'eth0')
  await ip('-n', name, 'link', 'set', 'eth0', 'up')
  await ip('-n', name, 'route', 'add', 'default', 'via', '10.78.0.1')
  await ip('-n', outer, 'route', 'add', '10.78.0.0/24', 'via', '10.77.0.2')
  await ip('netns', 'exec', inner, 'sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward')
  mkdirSync(`/etc/netns/${name}`, { recursive: true })
  writeFileSync(`/etc/netns/${name}/resolv.conf`, `nameserver ${nameserver}\n`)
  scope.onClose(() => rmSync(`/etc/netns/${name}`, { recursive: true }))
  await startService(scope, {
    name: 'the web site behind',
    command: 'ip',
    args: [
      'netns',
      'exec',
      name,
      node,
      new URL('outside-site.ts', import.meta.url).pathname,
      scope.path('certificates', `${host}.pem`),
      scope.path('certificates', `${host}.key`),
    ],
    env: tidyEnv(scope.folder),
    ready: ({ stdout }) => stdout().includes('listening'),
  })
  return {
    interface: 'lan',
    address: '10.78.0.2',
    run: (command, ...args) =>
      run('ip', ['netns', 'exec', name, command, ...args], { env: tidyEnv(scope.folder) }),
  }
}
