/** What `sallyport serve` needs under Node's permission model, as docs/hardening.md states it. */
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

export type Grant = 'network' | 'program' | 'configuration file'

/** Node's options, with these grants left out. */
export function leastGrants(configFile: string, without: readonly Grant[] = []): readonly string[] {
  const program = ['bin', 'src', 'config', 'node_modules', 'package.json'].map(
    (path) => `--allow-fs-read=${ROOT}${path}`,
  )
  return [
    '--permission',
    '--disable-proto=delete',
    '--disallow-code-generation-from-strings',
    ...(without.includes('network') ? [] : ['--allow-net']),
    ...(without.includes('program') ? [] : program),
    ...(without.includes('configuration file') ? [] : [`--allow-fs-read=${configFile}`]),
  ]
}
