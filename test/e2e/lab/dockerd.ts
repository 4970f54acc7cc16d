import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { mustRun, run, tidyEnv } from './programs.ts'
import type { Finished } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'

/**
 * dockerd writes /etc/docker/key.json, /opt/containerd and /run/docker whatever its flags say, and would use a
 * containerd it finds in /run. In a mount namespace of its own it gets empty ones, which vanish with it.
 */
export const insideItsOwnMounts = `
for folder in /etc/docker /opt /run; do
  if [ -d $folder ]; then mount -t tmpfs none $folder || exit 1; fi
done
exec dockerd "$@"`

export interface Dockerd {
  /** The docker CLI, talking to this daemon only. */
  docker: (...args: string[]) => Promise<Finished>
}

/** A docker daemon that lives in the scope's folder, pulls through `proxy` and trusts `caFile`. */
export const startDockerd = async (scope: Scope, proxy: string, caFile: string): Promise<Dockerd> => {
  const at = (name: string): string => scope.path('docker', name)
  mkdirSync(at('config'), { recursive: true })
  writeFileSync(at('daemon.json'), '{}')
  const host = `unix://${at('docker.sock')}`
  const places = {
    'config-file': at('daemon.json'),
    'data-root': at('data'),
    'exec-root': at('exec'),
    pidfile: at('pid'),
    host,
  }
  const untouched = {
    iptables: false,
    ip6tables: false,
    'ip-forward': false,
    'ip-masq': false,
    bridge: 'none',
  }
  // One attempt for each layer: the default of five waits 5, 10, 15 and 20 s between them.
  const flags = { ...places, ...untouched, 'storage-driver': 'vfs', 'max-download-attempts': 1 }
  const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`)
  const cli = tidyEnv(scope.folder, { DOCKER_HOST: host, DOCKER_CONFIG: at('config') })
  const docker = (...command: string[]): Promise<Finished> => run('docker', command, { env: cli })
  await startService(scope, {
    name: 'dockerd',
    command: 'unshare',
    args: ['--mount', '--propagation', 'private', 'sh', '-c', insideItsOwnMounts, 'dockerd', ...args],
    env: tidyEnv(scope.folder, { HTTPS_PROXY: proxy, NO_PROXY: '', SSL_CERT_FILE: caFile }),
    ready: async () => existsSync(at('docker.sock')) && (await docker('info')).code === 0,
    readyMs: 60_000,
    stopMs: 20_000,
  })
  await mustRun('docker', ['version'], { env: cli })
  return { docker }
}
