import { copyFileSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { insideItsOwnMounts } from './dockerd.ts'
import { root } from './gate.ts'
import { mustRun, run, tidyEnv } from './programs.ts'
import type { Finished, RunOptions } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'

/** Fetched by test/e2e/tools.sh. */
export const composePlugin = `${root}node_modules/.cache/e2e-tools/docker-compose`

export interface DockerHost {
  /** What the containers see as the outside: an address of this machine, for each `n` from 1 to 99. */
  outside: (n: number) => string
  outsideBlock: string
  /** The docker CLI, with compose, talking to this daemon only. */
  docker: (args: readonly string[], options?: RunOptions) => Promise<Finished>
  /** Where its volumes are. */
  data: string
}

/**
 * A docker daemon with bridges, internal networks and address translation, in a network namespace of its own that one
 * pair of interfaces joins to this machine. The machine's own rules and forwarding stay as they are.
 */
export const startDockerHost = async (scope: Scope): Promise<DockerHost> => {
  const id = process.pid.toString(36)
  const [namespace, here, there] = [`sallyport-${id}`, `sp${id}a`, `sp${id}b`]
  const net = `10.231.${process.pid % 250}`
  const ip = (...args: string[]) => mustRun('ip', args)
  scope.onClose(() => run('ip', ['netns', 'delete', namespace]))
  await ip('netns', 'add', namespace)
  await ip('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', namespace)
  scope.onClose(() => run('ip', ['link', 'delete', here]))
  for (const n of [1, 2, 3, 4, 9]) await ip('address', 'add', `${net}.${n}/24`, 'dev', here)
  await ip('link', 'set', here, 'up')
  await ip('-n', namespace, 'link', 'set', 'lo', 'up')
  await ip('-n', namespace, 'address', 'add', `${net}.100/24`, 'dev', there)
  await ip('-n', namespace, 'link', 'set', there, 'up')
  await ip('-n', namespace, 'route', 'add', 'default', 'via', `${net}.1`)

  const at = (name: string): string => scope.path('docker-host', name)
  mkdirSync(at('config/cli-plugins'), { recursive: true })
  copyFileSync(composePlugin, at('config/cli-plugins/docker-compose'))
  writeFileSync(at('daemon.json'), '{}')
  const host = `unix://${at('docker.sock')}`
  const env = tidyEnv(scope.folder, { DOCKER_HOST: host, DOCKER_CONFIG: at('config'), DOCKER_BUILDKIT: '1' })
  const docker: DockerHost['docker'] = (args, options = {}) =>
    run('docker', args, { deadlineMs: 240_000, ...options, env: { ...env, ...options.env } })
  const places = {
    'config-file': at('daemon.json'),
    'data-root': at('data'),
    'exec-root': at('exec'),
    pidfile: at('pid'),
    host,
    'storage-driver': 'vfs',
  }
  const daemon = ['dockerd', ...Object.entries(places).map(([name, value]) => `--${name}=${value}`)]
  const mounts = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', insideItsOwnMounts]
  await startService(scope, {
    name: 'dockerd',
    command: 'nsenter',
    args: [`--net=/run/netns/${namespace}`, ...mounts, ...daemon],
    env: tidyEnv(scope.folder),
    ready: async () => existsSync(at('docker.sock')) && (await docker(['info'])).code === 0,
    readyMs: 60_000,
    stopMs: 30_000,
  })
  return { outside: (n) => `${net}.${n}`, outsideBlock: `${net}.0/24`, docker, data: at('data') }
}
