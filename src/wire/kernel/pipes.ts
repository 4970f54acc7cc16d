/**
 * The pipes through which splice(2) moves bytes from socket to socket. A tunnel borrows one only while bytes are in
 * flight, so idle tunnels own none.
 */
import { F_SETPIPE_SZ, O_CLOEXEC, O_NONBLOCK, type Libc } from './libc.ts'

/** The most that a pipe may hold without privilege (pipe(7), /proc/sys/fs/pipe-max-size). */
export const PIPE_BYTES = 1024 * 1024
/** Idle pipes kept; more tunnels than this seldom move bytes in the same instant. */
const MAX_IDLE = 64

export interface Pipe {
  readonly read: number
  readonly write: number
}

export class PipePool {
  readonly #libc: Libc
  readonly #idle: Pipe[] = []
  readonly #fds = new Int32Array(2)

  constructor(libc: Libc) {
    this.#libc = libc
  }

  /** Pipes that wait to be borrowed. */
  get idle(): number {
    return this.#idle.length
  }

  /** An empty pipe; `undefined` when the system has no descriptors left. */
  borrow(): Pipe | undefined {
    const pipe = this.#idle.pop()
    if (pipe) return pipe
    if (this.#libc.pipe2(this.#fds, O_NONBLOCK | O_CLOEXEC) < 0) return undefined
    const [read = -1, write = -1] = this.#fds
    // Refused beyond pipe-user-pages-soft; the pipe then keeps its default size, and more calls do the work.
    this.#libc.fcntl(write, F_SETPIPE_SZ, PIPE_BYTES)
    return { read, write }
  }

  /** Takes back a pipe that is empty. */
  giveBack(pipe: Pipe): void {
    if (this.#idle.length < MAX_IDLE) this.#idle.push(pipe)
    else this.discard(pipe)
  }

  /** Closes a pipe, and what may be left in it. */
  discard(pipe: Pipe): void {
    this.#libc.close(pipe.read)
    this.#libc.close(pipe.write)
  }

  dispose(): void {
    for (const pipe of this.#idle.splice(0)) this.discard(pipe)
  }
}
