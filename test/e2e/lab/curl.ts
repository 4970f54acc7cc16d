import { run, tidyEnv } from './programs.ts'
import type { Finished } from './programs.ts'
import type { Scope } from './scope.ts'

export interface CurlResult extends Finished {
  /** The first line of what the proxy answered to CONNECT, if it answered. */
  connectReply: string | undefined
}

/** curl through a proxy, trusting the lab's authority, verbose so that the proxy's own words are to be seen. */
export const curlThrough =
  (scope: Scope, proxy: string, caFile: string) =>
  async (...args: string[]): Promise<CurlResult> => {
    const env = tidyEnv(scope.folder, { HTTPS_PROXY: proxy, http_proxy: proxy, NO_PROXY: '' })
    const finished = await run('curl', ['-sS', '-v', '--cacert', caFile, ...args], {
      env,
      deadlineMs: 20_000,
    })
    return { ...finished, connectReply: /^< (HTTP\/1\.[01] .*?)\r?$/m.exec(finished.stderr)?.[1] }
  }
