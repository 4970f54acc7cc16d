/**
 * Sockets that act at once: each call is done when it returns, while the wire in this process has seen nothing yet. What
 * the wire then finds, it finds together.
 */
import { onTestFinished } from 'vitest'
import {
  AF_INET,
  loadLibc,
  MSG_NOSIGNAL,
  SHUT_WR,
  SO_LINGER,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  SOL_SOCKET,
} from '../../src/wire/kernel/libc.ts'

const libc = await loadLibc()
const SO_RCVBUF = 8
const SO_RCVTIMEO = 20
const MSG_OOB = 1
const MSG_DONTWAIT = 0x40
const RECEIVE_TIMEOUT_S = 10

/** `struct sockaddr_in` (ip(7)) of 127.0.0.1; both architectures of the kernel wire are little-endian. */
function loopback(port: number): Buffer {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt16LE(AF_INET, 0)
  bytes.writeUInt16BE(port, 2)
  bytes.set([127, 0, 0, 1], 4)
  return bytes
}

function check(result: number, call: string): number {
  if (result < 0) throw new Error(`${call}: ${libc.errnoName(libc.errno())}`)
  return result
}

export class RawPeer {
  readonly fd: number
  #open = true

  constructor(fd: number) {
    this.fd = fd
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, new Int32Array([RECEIVE_TIMEOUT_S, 0, 0, 0]), 16)
    onTestFinished(() => this.close())
  }

  static connect(port: number, options: { receiveBuffer?: number } = {}): RawPeer {
    const bytes = loopback(port)
    const fd = check(libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket')
    if (options.receiveBuffer !== undefined)
      libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, new Int32Array([options.receiveBuffer]), 4)
    check(libc.connect(fd, bytes, bytes.length), 'connect')
    return new RawPeer(fd)
  }

  send(text: string | Buffer): this {
    const bytes = Buffer.from(text)
    for (let sent = 0; sent < bytes.length;) {
      sent += check(libc.send(this.fd, bytes.subarray(sent), bytes.length - sent, MSG_NOSIGNAL), 'send')
    }
    return this
  }

  /** One byte out of band (TCP's urgent pointer). */
  sendUrgent(byte: string): this {
    check(libc.send(this.fd, Buffer.from(byte), 1, MSG_OOB), 'send')
    return this
  }

  /** What has arrived, without waiting. */
  received(): string {
    const bytes = Buffer.alloc(64 * 1024)
    const parts: Buffer[] = []
    for (;;) {
      const count = libc.recv(this.fd, bytes, bytes.length, MSG_DONTWAIT)
      if (count <= 0) return Buffer.concat(parts).toString()
      parts.push(Buffer.from(bytes.subarray(0, count)))
    }
  }

  fin(): this {
    check(libc.shutdown(this.fd, SHUT_WR), 'shutdown')
    return this
  }

  reset(): void {
    libc.setsockopt(this.fd, SOL_SOCKET, SO_LINGER, new Int32Array([1, 0]), 8)
    this.close()
  }

  close(): void {
    if (this.#open) libc.close(this.fd)
    this.#open = false
  }
}

/** A listening socket that accepts when told. */
export class RawHost {
  readonly port: number
  readonly #fd: number

  constructor() {
    const bytes = loopback(0)
    this.#fd = check(libc.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), 'socket')
    check(libc.bind(this.#fd, bytes, bytes.length), 'bind')
    check(libc.listen(this.#fd, 128), 'listen')
    check(libc.getsockname(this.#fd, bytes, new Int32Array([bytes.length])), 'getsockname')
    this.port = bytes.readUInt16BE(2)
    onTestFinished(() => {
      libc.close(this.#fd)
    })
  }

  /** Takes a connection that is there already. */
  accept(): RawPeer {
    const address = loopback(0)
    const length = new Int32Array([address.length])
    return new RawPeer(check(libc.accept4(this.#fd, address, length, SOCK_CLOEXEC), 'accept4'))
  }
}
