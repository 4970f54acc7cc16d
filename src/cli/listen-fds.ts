/** Socket activation: listening sockets that systemd opened, and keeps open while the program restarts (sd_listen_fds(3)). */
import type { ListenAddress } from '../config/units.ts'

/** The first descriptor that is passed on. */
const FIRST_FD = 3

/**
 * How many sockets were passed to this process: none when the variables are missing or meant for another one. Takes the
 * variables away, so that no child believes that they are its own.
 */
export function takeListenFds(env: NodeJS.ProcessEnv, pid: number): number {
  const { LISTEN_PID, LISTEN_FDS } = env
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) Reflect.deleteProperty(env, name)
  if (LISTEN_PID !== String(pid) || LISTEN_FDS === undefined) return 0
  return /^[1-9][0-9]{0,2}$/.test(LISTEN_FDS) ? Number(LISTEN_FDS) : 0
}

/** Gives each listener its socket, in order; a text says why that cannot be. */
export function withSockets(listen: ListenAddress[], count: number): ListenAddress[] | string {
  if (count === 0) return listen
  if (count !== listen.length) {
    return (
      `the service manager passed ${count} listening sockets and \`listen\` has ${listen.length} entries; ` +
      'they are matched in order, so write one ListenStream= for each'
    )
  }
  return listen.map((address, index) => ({ ...address, fd: FIRST_FD + index }))
}
