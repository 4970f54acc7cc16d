import { statSync } from 'node:fs'
import { WOLFI } from './chainguard.ts'
import { tidyEnv } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'
import type { Service } from './service.ts'

export interface Download {
  service: Service
  /** Bytes written so far. */
  size: () => number
  /** Bytes when it is whole. */
  whole: number
}

let downloads = 0

/** curl, in the middle of a download through the proxy that lasts `seconds`. */
export const startDownload = async (
  scope: Scope,
  proxy: string,
  caFile: string,
  seconds: number,
): Promise<Download> => {
  const pieces = seconds * 20
  const whole = pieces * 16_384
  const file = scope.path(`download-${(downloads += 1)}`)
  const size = (): number => statSync(file, { throwIfNoEntry: false })?.size ?? 0
  const service = await startService(scope, {
    name: 'curl',
    command: 'curl',
    args: ['-sS', '--no-buffer', '--cacert', caFile, '-o', file, `https://${WOLFI}/drip/${pieces}/50`],
    env: tidyEnv(scope.folder, { HTTPS_PROXY: proxy, NO_PROXY: '' }),
    ready: () => size() > 0,
  })
  return { service, size, whole }
}
