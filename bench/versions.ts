/** Which versions of what are measured, and on which machine. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { arch, availableParallelism, cpus, release, totalmem, type } from 'node:os'
import { pathToFileURL } from 'node:url'

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly kernel: string
  readonly node: string
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `${type()} ${release()} ${arch()}`,
    node: process.version,
  }
}

/** The number in the first line that `program` prints about itself; `undefined` when there is no such program. */
export function versionOf(program: string, option: string): string | undefined {
  const { stdout, error } = spawnSync(program, [option], { encoding: 'utf8' })
  if (error) return undefined
  const first = stdout.split('\n')[0] ?? ''
  return /[0-9]+(?:\.[0-9]+)+/.exec(first)?.[0] ?? 'unknown'
}

/** The version of the package to which `file` belongs. */
export function packageVersion(file: string): string {
  const about: unknown = JSON.parse(readFileSync(findPackageJSON(pathToFileURL(file)) ?? '', 'utf8'))
  return typeof about === 'object' && about && 'version' in about ? String(about.version) : 'unknown'
}
