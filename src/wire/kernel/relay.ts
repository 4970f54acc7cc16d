/**
 * Joins two sockets. Small pieces go by recv and send, since that is two calls; bulk goes by splice(2) through a borrowed
 * pipe, so that no byte of it enters this process. Edge-triggered: each direction works until nothing is left to read
 * or the other side takes no more. One file over 300 lines, since pump, break and end share every field of a flow.
 */
import type { CloseCode } from '../../policy/reasons.ts'
import type { Inspector, Relay, RelayLimits, RelayOwner } from '../types.ts'
import { WATCH_BOTH, type Handover } from './connection.ts'
import {
  append,
  BULK,
  DEAD,
  ENDED,
  FIN_SEEN,
  openFlow,
  READABLE,
  SHUT,
  UNSPLICEABLE,
  WATCHES_OUT,
  WRITABLE,
  type Flow,
} from './flow.ts'
import {
  EAGAIN,
  EINTR,
  EINVAL,
  ENOMEM,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  MSG_NOSIGNAL,
  SHUT_WR,
  SO_LINGER,
  SOL_SOCKET,
  SPLICE_F_MOVE,
  SPLICE_F_NONBLOCK,
} from './libc.ts'
import { PIPE_BYTES, type Pipe, type PipePool } from './pipes.ts'
import { SCRATCH_BYTES, type Reactor, type Watcher } from './reactor.ts'

/** Reads of one direction before the others get a turn. */
const READS_PER_TURN = 32
/** `struct linger { on: 1, seconds: 0 }`: close(2) then resets. */
const RESET_ON_CLOSE = new Int32Array([1, 0])

const NOTHING = Buffer.alloc(0)

type PumpResult = 'ok' | 'source' | 'sink'

export class KernelRelay implements Relay, Watcher {
  readonly #reactor: Reactor
  readonly #pipes: PipePool
  readonly #limits: RelayLimits
  readonly #up: Flow
  readonly #down: Flow
  /** Only at the beginning, and only for some tunnels. */
  #inspector: Inspector | undefined
  /** Nobody once it has ended. */
  #owner: RelayOwner | undefined
  /** One side is gone; the bytes on their way to the other are still delivered. */
  #broken: CloseCode | undefined
  #lastMoveMs: number
  #halfClosed = false

  constructor(
    reactor: Reactor,
    pipes: PipePool,
    client: Handover,
    upstream: Handover,
    limits: RelayLimits,
    owner: RelayOwner,
    inspector: Inspector | undefined,
  ) {
    this.#reactor = reactor
    this.#pipes = pipes
    this.#limits = limits
    this.#owner = owner
    this.#up = openFlow(client, upstream)
    this.#down = openFlow(upstream, client)
    this.#inspector = inspector
    if (client.kept) this.#receive(this.#up, client.kept)
    if (upstream.kept) this.#receive(this.#down, upstream.kept)
    this.#lastMoveMs = performance.now()
    for (const { slot } of [client, upstream]) reactor.assign(slot, this)
    reactor.setDeadline(client.slot, this.#lastMoveMs + limits.idleTimeoutMs)
    // Both sides may have spoken or ended before; the caller gets its Relay first.
    reactor.yield(client.slot)
  }

  get bytesUp(): number {
    return Math.max(0, this.#up.bytes)
  }

  get bytesDown(): number {
    return Math.max(0, this.#down.bytes)
  }

  close(code: CloseCode): void {
    this.#end(code)
  }

  onEvents(slot: number, events: number): void {
    const from = slot === this.#up.source ? this.#up : this.#down
    const to = from === this.#up ? this.#down : this.#up
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) from.is |= READABLE
    // Reads stop short at urgent data, too.
    if (events & (EPOLLPRI | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) from.is |= FIN_SEEN
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) to.is |= WRITABLE
    this.#run(from)
    if (this.#owner) this.#run(to)
    if (this.#owner && this.#inspector?.refused) this.#refuse(this.#inspector.refused)
    // A reset after the FIN: no read will find it.
    if (this.#owner && events & EPOLLERR && from.is & ENDED) this.#break(slot)
    if (this.#owner && this.#up.is & SHUT && this.#down.is & SHUT) this.#end(this.#broken ?? 'completed')
  }

  onDeadline(slot: number): void {
    const limitMs = this.#halfClosed ? this.#limits.lingerTimeoutMs : this.#limits.idleTimeoutMs
    const dueMs = this.#lastMoveMs + limitMs
    if (dueMs > this.#reactor.nowMs) this.#reactor.setDeadline(slot, dueMs)
    else this.#end(this.#broken ?? (this.#halfClosed ? 'linger_timeout' : 'idle_timeout'))
  }

  onFault(): void {
    this.#end(this.#broken ?? 'upstream_reset')
  }

  onDispose(): void {
    this.#owner = undefined
    for (const flow of [this.#up, this.#down]) {
      this.#drop(flow)
      flow.is |= SHUT
    }
  }

  #run(flow: Flow): void {
    if (flow.is & SHUT) return
    const before = flow.bytes
    const result = this.#pump(flow)
    if (flow.bytes !== before) this.#lastMoveMs = this.#reactor.nowMs
    if (result === 'source') this.#break(flow.source)
    else if (result === 'sink') this.#breakSink(flow)
    else if (flow.is & SHUT && !this.#halfClosed) this.#limitLinger()
  }

  /** Moves bytes until there is nothing to read, the sink is full, or somebody else should have a turn. */
  #pump(flow: Flow): PumpResult {
    for (let reads = 0; ;) {
      if (flow.rest || flow.inPipe > 0) {
        if (!(flow.is & WRITABLE)) return 'ok'
        if (!(flow.rest ? this.#sendRest(flow) : this.#emptyPipe(flow))) return 'sink'
        continue
      }
      if (flow.is & ENDED) {
        if (flow.held && this.#waits(flow)) return 'ok'
        if (flow.rest) continue
        flow.is |= SHUT
        this.#reactor.libc.shutdown(this.#reactor.fd(flow.sink), SHUT_WR)
        return 'ok'
      }
      if (!(flow.is & READABLE) || !(flow.is & WRITABLE) || this.#inspector?.refused) return 'ok'
      if (reads === READS_PER_TURN) {
        this.#reactor.yield(flow.source)
        return 'ok'
      }
      reads += 1
      if (!(flow.is & BULK ? this.#fillPipe(flow) : this.#copy(flow))) return 'source'
    }
  }

  #receive(flow: Flow, bytes: Buffer): void {
    if (this.#inspector) this.#inspect(flow, bytes)
    else append(flow, bytes)
  }

  /** Asks the inspector about bytes that were just read, and about what that decides. */
  #inspect(flow: Flow, read: Buffer): void {
    const inspector = this.#inspector
    if (!inspector) return
    const bytes = flow.held ? Buffer.concat([flow.held, read]) : read
    const passing = flow === this.#up ? inspector.up(bytes) : inspector.down(bytes)
    append(flow, bytes.subarray(0, passing))
    flow.held = passing < bytes.length ? bytes.subarray(passing) : undefined
    if (inspector.done) {
      this.#inspector = undefined
      for (const one of [this.#up, this.#down]) this.#letPass(one)
    } else if (flow === this.#down && this.#up.held) this.#inspect(this.#up, NOTHING)
  }

  #letPass(flow: Flow): void {
    if (flow.held) append(flow, flow.held)
    flow.held = undefined
  }

  /** Whether an end has to wait for bytes that are held back. Those of a host that says no more are decided. */
  #waits(flow: Flow): boolean {
    if (flow === this.#down) this.#letPass(flow)
    else if (flow.held && !this.#halfClosed) this.#limitLinger()
    return flow.held !== undefined
  }

  /** The host goes; the client gets its last word. */
  #refuse({ code, farewell }: NonNullable<Inspector['refused']>): void {
    this.#inspector = undefined
    this.#broken = code
    this.#down.held = undefined
    append(this.#down, farewell)
    this.#break(this.#down.source)
    if (this.#owner) this.#run(this.#down)
  }

  /** A small piece: recv and send. False when the source is broken. */
  #copy(flow: Flow): boolean {
    const { libc, scratch } = this.#reactor
    const count = libc.recv(this.#reactor.fd(flow.source), scratch, SCRATCH_BYTES, 0)
    if (count <= 0) return this.#nothingRead(flow, count)
    // A short read has emptied the socket (epoll(7)).
    if (count < SCRATCH_BYTES) flow.is = flow.is & FIN_SEEN ? flow.is | READABLE : flow.is & ~READABLE
    else if (!this.#inspector && !(flow.is & UNSPLICEABLE)) flow.is |= BULK
    if (this.#inspector) {
      this.#inspect(flow, Buffer.from(scratch.subarray(0, count)))
      return true
    }
    const sent = libc.send(this.#reactor.fd(flow.sink), scratch, count, MSG_NOSIGNAL)
    if (sent > 0) flow.bytes += sent
    // What was not taken is tried once more from `rest`, which finds out why.
    if (sent < count) flow.rest = Buffer.from(scratch.subarray(Math.max(0, sent), count))
    return true
  }

  /** Bulk: as much as the pipe holds. False when the source is broken. */
  #fillPipe(flow: Flow): boolean {
    const pipe = this.#pipes.borrow()
    if (!pipe) {
      flow.is &= ~BULK
      return true
    }
    const count = this.#splice(this.#reactor.fd(flow.source), pipe.write, PIPE_BYTES)
    if (count > 0) {
      flow.pipe = pipe
      flow.inPipe = count
      return true
    }
    const errno = count < 0 ? this.#reactor.libc.errno() : 0
    this.#pipes.giveBack(pipe)
    flow.is &= ~BULK
    if (errno === EINVAL || errno === ENOMEM) flow.is |= UNSPLICEABLE
    // Neither nothing nor the end is believed: urgent data looks like both to splice(2). recv(2) knows.
    return errno === 0 || errno === EAGAIN || errno === EINTR || (flow.is & UNSPLICEABLE) !== 0
  }

  /** False when the sink is broken. */
  #emptyPipe(flow: Flow): boolean {
    const { pipe } = flow
    if (!pipe) return false
    const count = this.#splice(pipe.read, this.#reactor.fd(flow.sink), flow.inPipe)
    if (count <= 0) {
      const errno = this.#reactor.libc.errno()
      return errno === EINVAL || errno === ENOMEM ? this.#spill(flow, pipe) : this.#nothingSent(flow)
    }
    flow.bytes += count
    this.#took(flow, pipe, count)
    return true
  }

  /** The sink cannot be spliced to: what is in the pipe goes by read and send. */
  #spill(flow: Flow, pipe: Pipe): boolean {
    const { libc, scratch } = this.#reactor
    const count = libc.read(pipe.read, scratch, SCRATCH_BYTES)
    if (count <= 0) return count < 0 && libc.errno() === EINTR
    flow.is |= UNSPLICEABLE
    flow.rest = Buffer.from(scratch.subarray(0, count))
    this.#took(flow, pipe, count)
    return true
  }

  #took(flow: Flow, pipe: Pipe, count: number): void {
    flow.inPipe -= count
    if (flow.inPipe > 0) return
    this.#pipes.giveBack(pipe)
    flow.pipe = undefined
  }

  #splice(from: number, to: number, length: number): number {
    return this.#reactor.libc.splice(from, null, to, null, length, SPLICE_F_MOVE | SPLICE_F_NONBLOCK)
  }

  #sendRest(flow: Flow): boolean {
    const rest = flow.rest
    if (!rest) return true
    const sent = this.#reactor.libc.send(this.#reactor.fd(flow.sink), rest, rest.length, MSG_NOSIGNAL)
    if (sent < 0) return this.#nothingSent(flow)
    flow.bytes += sent
    flow.rest = sent < rest.length ? rest.subarray(sent) : undefined
    return true
  }

  #nothingRead(flow: Flow, count: number): boolean {
    if (count === 0 && flow.is & DEAD) return false
    if (count === 0) {
      flow.is |= ENDED
      return true
    }
    const errno = this.#reactor.libc.errno()
    if (errno === EAGAIN) flow.is &= ~READABLE
    return errno === EAGAIN || errno === EINTR
  }

  #nothingSent(flow: Flow): boolean {
    const errno = this.#reactor.libc.errno()
    if (errno === EAGAIN && flow.is & WATCHES_OUT) flow.is &= ~WRITABLE
    else if (errno === EAGAIN) {
      // Watching anew announces at once what became writable meanwhile.
      flow.is |= WATCHES_OUT
      flow.is &= ~WRITABLE
      this.#reactor.modify(flow.sink, WATCH_BOTH)
    }
    return errno === EAGAIN || errno === EINTR
  }

  /** After one side has ended, a shorter silence is enough. */
  #limitLinger(): void {
    this.#halfClosed = true
    this.#lastMoveMs = this.#reactor.nowMs
    const slot = this.#broken === 'client_reset' ? this.#up.sink : this.#up.source
    this.#reactor.setDeadline(slot, this.#lastMoveMs + this.#limits.lingerTimeoutMs)
  }

  /** The sink takes no more. What it had said before is still read, as far as the other side takes it. */
  #breakSink(flow: Flow): void {
    const said = flow === this.#up ? this.#down : this.#up
    if (!(said.is & SHUT)) {
      said.is |= DEAD | READABLE | FIN_SEEN
      if (this.#pump(said) === 'sink') this.#drop(said)
    }
    this.#break(flow.sink)
  }

  /** A side is gone. What it had sent is delivered; then the other side is closed, and a host reset. */
  #break(slot: number): void {
    const client = slot === this.#up.source
    this.#broken ??= client ? 'client_reset' : 'upstream_reset'
    const left = client ? this.#up : this.#down
    const dead = client ? this.#down : this.#up
    dead.is |= SHUT
    this.#drop(dead)
    this.#reactor.close(slot)
    if (left.is & SHUT || (!left.rest && left.inPipe === 0)) {
      // A host that is reset may be told so. The client is not: a reset would eat what is still on its way there.
      if (client && !(left.is & SHUT)) this.#resetOnClose(left.sink)
      this.#end(this.#broken)
      return
    }
    left.is |= ENDED
    this.#limitLinger()
  }

  #resetOnClose(slot: number): void {
    const { libc } = this.#reactor
    libc.setsockopt(this.#reactor.fd(slot), SOL_SOCKET, SO_LINGER, RESET_ON_CLOSE, RESET_ON_CLOSE.byteLength)
  }

  #drop(flow: Flow): void {
    if (flow.pipe) this.#pipes.discard(flow.pipe)
    flow.pipe = undefined
    flow.inPipe = 0
    flow.rest = undefined
    flow.held = undefined
  }

  #end(code: CloseCode): void {
    const owner = this.#owner
    if (!owner) return
    this.#owner = undefined
    this.#drop(this.#up)
    this.#drop(this.#down)
    this.#up.is |= SHUT
    this.#down.is |= SHUT
    this.#closeOwn(this.#up.source)
    this.#closeOwn(this.#down.source)
    this.#reactor.wake()
    owner.ended(code)
  }

  /** A slot that was closed before may belong to somebody else by now. */
  #closeOwn(slot: number): void {
    if (this.#reactor.watcherOf(slot) === this) this.#reactor.close(slot)
  }
}
