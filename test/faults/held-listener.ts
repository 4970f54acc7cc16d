/**
 * A host that does not answer a SYN until it is let: its queue of waiting connections has one place, and that is taken,
 * so the kernel drops what comes, as a firewall does. Linux only.
 */
import { connect, Socket } from 'node:net'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import {
  AF_INET,
  loadLibc,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  type Libc,
} from '../../src/wire/kernel/libc.ts'

const POLL_MS = 10

export class HeldListener {
  readonly port: number
  readonly #libc: Libc
  readonly #fd: number
  readonly #plug: Socket
  #timer: NodeJS.Timeout | undefined
  #open = true

  private constructor(libc: Libc, fd: number, port: number, plug: Socket) {
    this.#libc = libc
    this.#fd = fd
    this.port = port
    this.#plug = plug
  }

  static async open(): Promise<HeldListener> {
    const libc = await loadLibc()
    /** `struct sockaddr_in` of 127.0.0.1, any port. */
    const address = Buffer.alloc(16)
    address.writeUInt16LE(AF_INET, 0)
    address.set([127, 0, 0, 1], 4)
    const fd = libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)
    const bound =
      fd >= 0 &&
      libc.bind(fd, address, address.length) === 0 &&
      libc.listen(fd, 0) === 0 &&
      libc.getsockname(fd, address, new Int32Array([address.length])) === 0
    if (!bound) throw new Error(`cannot listen: ${libc.errnoName(libc.errno())}`)
    const port = address.readUInt16BE(2)
    const plug = connect({ host: '127.0.0.1', port })
    plug.on('error', () => undefined)
    await once(plug, 'connect')
    return new HeldListener(libc, fd, port, plug)
  }

  /** Somebody's SYN waits for an answer. */
  get wanted(): boolean {
    const remote = `0100007F:${this.port.toString(16).toUpperCase().padStart(4, '0')}`
    // `sl local_address rem_address st …`; 02 is SYN_SENT (proc_net_tcp).
    return readFileSync('/proc/net/tcp', 'utf8')
      .split('\n')
      .some((line) => {
        const [, , to, state] = line.trim().split(/\s+/)
        return to === remote && state === '02'
      })
  }

  /** From now on it accepts; who waits gets through with the next SYN, within a second or so. */
  release(onSocket: (socket: Socket) => void): void {
    this.#plug.destroy()
    let plugged = true
    this.#timer = setInterval(() => {
      const fd = this.#libc.accept4(this.#fd, Buffer.alloc(16), new Int32Array([16]), SOCK_CLOEXEC)
      if (fd < 0) return
      if (plugged) this.#libc.close(fd)
      else onSocket(new Socket({ fd, readable: true, writable: true, allowHalfOpen: true }))
      plugged = false
    }, POLL_MS)
  }

  /** Who waits, or still comes, is reset. */
  close(): void {
    clearInterval(this.#timer)
    this.#plug.destroy()
    if (this.#open) this.#libc.close(this.#fd)
    this.#open = false
  }
}
