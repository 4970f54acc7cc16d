/** Holds processes to a part of a core each, by control groups of either version (cgroups(7)). Needs root. */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { onEnd } from './clean-up.ts'
import { family } from './proc.ts'

const PERIOD_US = 10_000
/** Where version 1 has its groups for the CPU, where it is in use. */
const VERSION_1 = '/sys/fs/cgroup/cpu'
const VERSION_2 = '/sys/fs/cgroup'

/** @param share of a core, such as 0.2 */
export function holdTo(share: number, pid: number): void {
  const old = existsSync(VERSION_1)
  const root = old ? VERSION_1 : VERSION_2
  const group = join(root, `sallyport-bench-${pid}`)
  const quotaUs = Math.round(share * PERIOD_US)
  if (!old) writeFileSync(join(root, 'cgroup.subtree_control'), '+cpu')
  mkdirSync(group)
  onEnd(() => {
    // Only an empty group goes; the process may have ended before.
    if (existsSync(`/proc/${pid}`)) writeFileSync(join(root, 'cgroup.procs'), `${pid}`)
    rmdirSync(group)
  })
  if (old) {
    writeFileSync(join(group, 'cpu.cfs_period_us'), `${PERIOD_US}`)
    writeFileSync(join(group, 'cpu.cfs_quota_us'), `${quotaUs}`)
  } else writeFileSync(join(group, 'cpu.max'), `${quotaUs} ${PERIOD_US}`)
  writeFileSync(join(group, 'cgroup.procs'), `${pid}`)
}

/** The processes that run the tunnels of a gate: its workers, or itself where it has none. */
export function carriersOf(pid: number): readonly number[] {
  const workers = family(pid).slice(1)
  return workers.length > 0 ? workers : [pid]
}
