/**
 * Keeps the proxy on one core and its two peers on another while single round trips are measured. Left alone, the
 * scheduler sometimes puts all three on one core and sometimes not, and that makes a difference of two.
 */
import { spawnSync } from 'node:child_process'
import { availableParallelism } from 'node:os'

const CORES = availableParallelism()
const PEERS = String(CORES - 1)

const CAN_PIN = CORES > 1 && spawnSync('taskset', ['-c', PEERS, 'true']).status === 0

/** Put before a command, to run it where the peers are. */
export const ON_PEERS_CORE: readonly string[] = CAN_PIN ? ['taskset', '-c', PEERS] : []

export async function pinned<T>(proxy: number, origin: number, work: () => Promise<T>): Promise<T> {
  if (!CAN_PIN) return work()
  place(proxy, '0')
  place(origin, PEERS)
  try {
    return await work()
  } finally {
    for (const pid of [proxy, origin]) place(pid, `0-${PEERS}`)
  }
}

/** All threads of a process. */
function place(pid: number, cores: string): void {
  spawnSync('taskset', ['-a', '-c', '-p', cores, String(pid)])
}
