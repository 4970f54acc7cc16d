/**
 * The libc calls of the kernel wire, through koffi: the only file that knows koffi. Each function is the man page's,
 * with -1 for failure and the reason in `errno()`, which must be read before the next call. Constants are Linux's, as
 * x64 and arm64 have them.
 */

/** Linux on the architectures whose constants stand below. */
export function isSupportedPlatform(): boolean {
  return process.platform === 'linux' && (process.arch === 'x64' || process.arch === 'arm64')
}

export const AF_INET = 2
export const AF_INET6 = 10
export const SOCK_STREAM = 1
export const SOCK_NONBLOCK = 0o4000
export const SOCK_CLOEXEC = 0o2000000
export const SOL_SOCKET = 1
export const SO_REUSEADDR = 2
export const SO_ERROR = 4
export const SO_KEEPALIVE = 9
export const SO_LINGER = 13
export const SO_REUSEPORT = 15
export const IPPROTO_TCP = 6
export const TCP_NODELAY = 1
export const TCP_KEEPIDLE = 4
export const IPPROTO_IPV6 = 41
export const IPV6_V6ONLY = 26
export const SHUT_WR = 1
export const MSG_NOSIGNAL = 0x4000
export const EPOLL_CLOEXEC = 0o2000000
export const EPOLL_CTL_ADD = 1
export const EPOLL_CTL_DEL = 2
export const EPOLL_CTL_MOD = 3
export const EPOLLIN = 0x1
export const EPOLLPRI = 0x2
export const EPOLLOUT = 0x4
export const EPOLLERR = 0x8
export const EPOLLHUP = 0x10
export const EPOLLRDHUP = 0x2000
/** Bit 31, as the signed number that a 32-bit operation gives. */
export const EPOLLET = 1 << 31
export const O_NONBLOCK = 0o4000
export const O_CLOEXEC = 0o2000000
export const F_SETFD = 2
export const F_SETFL = 4
export const FD_CLOEXEC = 1
export const F_SETPIPE_SZ = 1031
export const SPLICE_F_MOVE = 1
export const SPLICE_F_NONBLOCK = 2

export const EINTR = 4
export const EAGAIN = 11
export const ENOMEM = 12
export const EINVAL = 22
export const ENFILE = 23
export const EMFILE = 24
export const ENOBUFS = 105
export const EINPROGRESS = 115

/** On x64 `struct epoll_event` is packed (epoll_ctl(2)): 12 bytes, else 16. In 32-bit words. */
export const EPOLL_EVENT_WORDS = process.arch === 'x64' ? 3 : 4
/** Where `data` starts in the event, in 32-bit words. */
export const EPOLL_DATA_WORD = process.arch === 'x64' ? 1 : 2

type Bytes = Uint8Array | Uint32Array | Int32Array

export interface PollHandle {
  ref(): void
  unref(): void
  close(): void
}

export interface Libc {
  /** errno(3), of the last call. */
  errno(): number
  /** The name of an errno, such as ECONNRESET. */
  errnoName(errno: number): string
  /** socket(2) */
  socket(domain: number, type: number, protocol: number): number
  /** bind(2) */
  bind(fd: number, address: Bytes, length: number): number
  /** listen(2) */
  listen(fd: number, backlog: number): number
  /** accept4(2) */
  accept4(fd: number, address: Bytes, length: Bytes, flags: number): number
  /** connect(2) */
  connect(fd: number, address: Bytes, length: number): number
  /** getsockname(2) */
  getsockname(fd: number, address: Bytes, length: Bytes): number
  /** getsockopt(2) */
  getsockopt(fd: number, level: number, name: number, value: Bytes, length: Bytes): number
  /** setsockopt(2) */
  setsockopt(fd: number, level: number, name: number, value: Bytes, length: number): number
  /** recv(2) */
  recv(fd: number, bytes: Bytes, length: number, flags: number): number
  /** send(2) */
  send(fd: number, bytes: Bytes, length: number, flags: number): number
  /** shutdown(2) */
  shutdown(fd: number, how: number): number
  /** close(2) */
  close(fd: number): number
  /** pipe2(2) */
  pipe2(fds: Bytes, flags: number): number
  /** read(2) */
  read(fd: number, bytes: Bytes, length: number): number
  /** fcntl(2), for commands that take a number */
  fcntl(fd: number, command: number, argument: number): number
  /** splice(2); offsets are null for sockets and pipes */
  splice(from: number, fromOffset: null, to: number, toOffset: null, length: number, flags: number): number
  /** epoll_create1(2) */
  epollCreate1(flags: number): number
  /** epoll_ctl(2) */
  epollCtl(epoll: number, operation: number, fd: number, event: Bytes): number
  /** epoll_wait(2) */
  epollWait(epoll: number, events: Bytes, max: number, timeoutMs: number): number
  /** Has Node's own loop call back whenever `fd` is readable. The handle must be kept: a collected one is deaf. */
  watchReadable(fd: number, callback: () => void): PollHandle
}

/** Loads koffi and binds libc. Rejects when koffi is not installed or does not run here. */
export async function loadLibc(): Promise<Libc> {
  const { default: koffi } = await import('koffi')
  // The process itself: glibc and musl alike have libc's symbols there.
  const self = koffi.load(null)
  const names = new Map(Object.entries(koffi.os.errno).map(([name, number]) => [number, name]))
  const bind = (declaration: string) => self.func(declaration)
  return {
    errno: koffi.errno,
    errnoName: (errno) => names.get(errno) ?? `E${errno}`,
    socket: bind('int socket(int, int, int)'),
    bind: bind('int bind(int, void*, uint32_t)'),
    listen: bind('int listen(int, int)'),
    accept4: bind('int accept4(int, void*, void*, int)'),
    connect: bind('int connect(int, void*, uint32_t)'),
    getsockname: bind('int getsockname(int, void*, void*)'),
    getsockopt: bind('int getsockopt(int, int, int, void*, void*)'),
    setsockopt: bind('int setsockopt(int, int, int, void*, uint32_t)'),
    recv: bind('long recv(int, void*, size_t, int)'),
    send: bind('long send(int, void*, size_t, int)'),
    shutdown: bind('int shutdown(int, int)'),
    close: bind('int close(int)'),
    pipe2: bind('int pipe2(void*, int)'),
    read: bind('long read(int, void*, size_t)'),
    // Variadic in C; on x64 and arm64 Linux an int argument travels the same way.
    fcntl: bind('int fcntl(int, int, int)'),
    splice: bind('long splice(int, void*, int, void*, size_t, unsigned int)'),
    epollCreate1: bind('int epoll_create1(int)'),
    epollCtl: bind('int epoll_ctl(int, int, int, void*)'),
    epollWait: bind('int epoll_wait(int, void*, int, int)'),
    watchReadable: (fd, callback) => koffi.node.poll(fd, { readable: true }, () => callback()),
  }
}
