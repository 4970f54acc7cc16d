import { accessSync, constants } from 'node:fs'
import { createServer } from 'node:net'
import { delimiter, join } from 'node:path'

/** What a suite cannot do without. `root` stands for ports below 1024 and dockerd. */
export interface Needs {
  root?: boolean
  linux?: boolean
  programs?: readonly string[]
  /** Addresses that nothing else may be listening on. */
  free?: readonly (readonly [port: number, address: string])[]
}

const onPath = (program: string): boolean =>
  [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((folder) => {
    try {
      accessSync(join(folder, program), constants.X_OK)
      return true
    } catch {
      return false
    }
  })

export const missing = (programs: readonly string[]): string[] =>
  programs.filter((program) => !onPath(program))

const isFree = (port: number, address: string): Promise<boolean> =>
  new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, address, () => server.close(() => resolve(true)))
  })

/**
 * For `describe.skipIf(lab.missing)(`title${lab.because}`, …)`: a suite that cannot run here says why in its title.
 */
export const needing = async (needs: Needs): Promise<{ missing: boolean; because: string }> => {
  const reasons: string[] = []
  if (needs.linux === true && process.platform !== 'linux') reasons.push('not Linux')
  if (needs.root === true && process.getuid?.() !== 0) reasons.push('not root')
  const absent = missing(needs.programs ?? [])
  if (absent.length > 0) reasons.push(`not installed: ${absent.join(', ')}`)
  for (const [port, address] of reasons.length > 0 ? [] : (needs.free ?? [])) {
    if (!(await isFree(port, address))) reasons.push(`${address}:${port} is taken`)
  }
  if (reasons.length === 0) return { missing: false, because: '' }
  return { missing: true, because: ` (skipped: ${reasons.join('; ')})` }
}
