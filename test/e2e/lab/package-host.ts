import { createReadStream, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { normalize } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Http2ServerResponse } from 'node:http2'
import { mustRun, tidyEnv } from './programs.ts'
import type { Scope } from './scope.ts'
import type { Handler } from './site.ts'

export const hello = 'hello from behind the gate\n'

/** `pieces` times 16 KiB, one every `everyMs`: a download that lasts as long as a test needs. */
const drip = async (response: Http2ServerResponse, pieces: number, everyMs: number): Promise<void> => {
  response.writeHead(200, { 'content-length': String(pieces * 16_384) })
  for (let piece = 0; piece < pieces && !response.destroyed; piece += 1) {
    response.write(Buffer.alloc(16_384, piece))
    await sleep(everyMs)
  }
  response.end()
}

/** A repository that git can clone over plain HTTPS files. Returns the commit. */
const writeRepository = async (scope: Scope, www: string): Promise<string> => {
  const work = scope.path('work')
  const env = tidyEnv(scope.folder, { GIT_CONFIG_NOSYSTEM: '1' })
  const git = (...args: string[]) => mustRun('git', args, { env })
  await git('init', '--quiet', '--initial-branch=main', work)
  writeFileSync(`${work}/README`, hello)
  await git('-C', work, 'add', 'README')
  const author = ['-c', 'user.name=Lab', '-c', 'user.email=lab@example.com']
  await git('-C', work, ...author, 'commit', '--quiet', '--message', 'One file')
  await git('clone', '--quiet', '--bare', work, `${www}/demo.git`)
  await git('-C', `${www}/demo.git`, 'update-server-info')
  return (await git('-C', work, 'rev-parse', 'HEAD')).stdout.trim()
}

/** packages.wolfi.dev: files, a git repository, and `/drip/<pieces>/<every ms>`. */
export const packageHost = async (scope: Scope): Promise<{ handler: Handler; commit: string }> => {
  const www = scope.path('www')
  mkdirSync(www)
  writeFileSync(`${www}/hello.txt`, hello)
  const commit = await writeRepository(scope, www)
  const handler: Handler = (request, response) => {
    const path = normalize(request.url.split('?')[0] ?? '/')
    const [, pieces, everyMs] = /^\/drip\/(\d+)\/(\d+)$/.exec(path) ?? []
    if (pieces !== undefined && everyMs !== undefined) {
      void drip(response, Number(pieces), Number(everyMs))
      return
    }
    const file = `${www}${path}`
    const isFile = statSync(file, { throwIfNoEntry: false })?.isFile() === true
    response.writeHead(isFile ? 200 : 404)
    if (isFile) createReadStream(file).pipe(response)
    else response.end()
  }
  return { handler, commit }
}
