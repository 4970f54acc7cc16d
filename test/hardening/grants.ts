/** What `sallyport serve` needs under Node's permission model, as docs/hardening.md states it. */
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
/** Of the program; its entry point is granted by Node itself. */
const PROGRAM = ['src', 'config', 'node_modules', 'package.json'] as const

export const GRANTS = ['network', 'configuration file', ...PROGRAM] as const
export type Grant = (typeof GRANTS)[number]

/** Node's options, with these grants left out. */
export function leastGrants(configFile: string, without: readonly Grant[] = []): readonly string[] {
  const grant = (name: Grant, option: string): string[] => (without.includes(name) ? [] : [option])
  return [
    '--permission',
    '--disable-proto=delete',
    '--disallow-code-generation-from-strings',
    ...grant('network', '--allow-net'),
    ...PROGRAM.flatMap((path) => grant(path, `--allow-fs-read=${ROOT}${path}`)),
    ...grant('configuration file', `--allow-fs-read=${configFile}`),
  ]
}
