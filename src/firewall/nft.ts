/** Runs `nft`. One call is one transaction: the kernel takes all of it or nothing. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'

/** What keeps the rules from being loaded, in words that say what to do. */
export class NftError extends Error {
  override readonly name = 'NftError'
}

/** Runs nft with these arguments and this input; answers with its output. Rejects with {@link NftError}. */
export type RunNft = (args: readonly string[], input?: string) => Promise<string>

const TIMEOUT_MS = 10_000

export const runNft: RunNft = (args, input = '') =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }
    const options = { env, stdio: 'pipe', timeout: TIMEOUT_MS } as const
    let child: ChildProcessWithoutNullStreams
    try {
      child = spawn('nft', args, options)
    } catch (error) {
      // Where Node's permission model is on, it throws at once.
      reject(new NftError(whyNotRun(error), { cause: error }))
      return
    }
    let [output, said] = ['', '']
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (said += text))
    // It may end before it has read everything; its exit code tells.
    child.stdin.on('error', () => undefined)
    child.stdin.end(input)
    child.once('error', (error) => reject(new NftError(whyNotRun(error), { cause: error })))
    child.once('close', (code, signal) => {
      if (code === 0) resolve(output)
      else reject(new NftError(whyRefused(said, signal)))
    })
  })

function whyNotRun(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  if (code === 'ENOENT') return 'there is no nft program here; install nftables'
  if (code === 'ERR_ACCESS_DENIED')
    return 'Node may not start programs (--permission); add --allow-child-process'
  return `nft cannot be started: ${error instanceof Error ? error.message : String(error)}`
}

function whyRefused(said: string, signal: NodeJS.Signals | null): string {
  if (signal) return `nft did not end within ${TIMEOUT_MS / 1000} s`
  if (/operation not permitted|must be root/i.test(said))
    return 'no permission to change the packet filter; run it as root, or with CAP_NET_ADMIN in this network namespace'
  if (/User does not exist/.test(said)) {
    const user = /"([^"]+)"/.exec(said.split('\n').find((line) => line.includes('skuid')) ?? '')?.[1]
    return `firewall.users: there is no such user${user === undefined ? ' as one of those listed' : ` as ${user}`}`
  }
  const first = said
    .split('\n')
    .find((line) => line.includes('Error:'))
    ?.replace(/^.*Error: */, '')
  return `nft refused the rules, and nothing was changed: ${first ?? 'it did not say why'}`
}
