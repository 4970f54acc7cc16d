import { writeFileSync } from 'node:fs'
import { accepts, freePort } from './ports.ts'
import { tidyEnv } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'

/** The CNCF distribution registry (Debian's docker-registry), in clear on a loopback port. */
export const startRegistry = async (scope: Scope): Promise<{ address: string }> => {
  const address = `127.0.0.1:${await freePort()}`
  const config = scope.path('registry.yaml')
  const settings = {
    version: '0.1',
    log: { level: 'warn', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: scope.path('registry') } },
    http: { addr: address, secret: 'sallyport' },
  }
  writeFileSync(config, JSON.stringify(settings))
  await startService(scope, {
    name: 'docker-registry',
    command: 'docker-registry',
    args: ['serve', config],
    env: tidyEnv(scope.folder),
    ready: () => accepts(Number(address.split(':')[1])),
  })
  return { address }
}
