/** What a relay knows of one direction. */
import type { Handover } from './connection.ts'
import type { Pipe } from './pipes.ts'

const READABLE = 1 << 0
const WRITABLE = 1 << 1
const WATCHES_OUT = 1 << 2
const FIN_SEEN = 1 << 3
const ENDED = 1 << 4
const SHUT = 1 << 5
const DEAD = 1 << 6
const BULK = 1 << 7
const SPLICES = 1 << 8

/**
 * One direction of a tunnel. What is true or false of it is one number inside: a tunnel has two of these, stays open for
 * days, and would take 130 bytes more.
 */
export class Flow {
  readonly source: number
  readonly sink: number
  #bits = WRITABLE | SPLICES
  pipe: Pipe | undefined = undefined
  inPipe = 0
  /** Bytes that were read and not sent yet. */
  rest: Buffer | undefined
  /** Behind those: bytes that the inspector has not let pass yet. */
  held: Buffer | undefined = undefined
  bytes: number

  /** What the source had read ahead is not in it yet. */
  constructor(source: Handover, sink: Handover) {
    this.source = source.slot
    this.sink = sink.slot
    this.readable = source.readable
    this.finSeen = source.finSeen
    this.watchesOut = sink.watchesOut
    this.ended = source.ended
    this.rest = sink.unsent
    this.bytes = sink.unsent ? -sink.unsent.length : 0
  }

  /** The source may have something to read, the sink may take something. */
  get readable(): boolean {
    return this.#has(READABLE)
  }
  set readable(yes: boolean) {
    this.#put(READABLE, yes)
  }
  get writable(): boolean {
    return this.#has(WRITABLE)
  }
  set writable(yes: boolean) {
    this.#put(WRITABLE, yes)
  }

  /** The sink is watched for becoming writable: only once it was not. */
  get watchesOut(): boolean {
    return this.#has(WATCHES_OUT)
  }
  set watchesOut(yes: boolean) {
    this.#put(WATCHES_OUT, yes)
  }

  /** A FIN was announced: even after a short read there is an end to be read. */
  get finSeen(): boolean {
    return this.#has(FIN_SEEN)
  }
  set finSeen(yes: boolean) {
    this.#put(FIN_SEEN, yes)
  }

  /** The source has ended; `shut`: and the sink was told. */
  get ended(): boolean {
    return this.#has(ENDED)
  }
  set ended(yes: boolean) {
    this.#put(ENDED, yes)
  }
  get shut(): boolean {
    return this.#has(SHUT)
  }
  set shut(yes: boolean) {
    this.#put(SHUT, yes)
  }

  /** The source was found broken by sending to it: behind its last bytes is no end. */
  get dead(): boolean {
    return this.#has(DEAD)
  }
  set dead(yes: boolean) {
    this.#put(DEAD, yes)
  }

  /** The last reads were large: splice. */
  get bulk(): boolean {
    return this.#has(BULK)
  }
  set bulk(yes: boolean) {
    this.#put(BULK, yes)
  }

  /** splice(2) has not refused these sockets. */
  get splices(): boolean {
    return this.#has(SPLICES)
  }
  set splices(yes: boolean) {
    this.#put(SPLICES, yes)
  }

  /** Puts bytes behind those that wait to be sent. They are the flow's from then on. */
  append(bytes: Buffer): void {
    if (bytes.length > 0) this.rest = this.rest ? Buffer.concat([this.rest, bytes]) : bytes
  }

  #has(bit: number): boolean {
    return (this.#bits & bit) !== 0
  }

  #put(bit: number, yes: boolean): void {
    this.#bits = yes ? this.#bits | bit : this.#bits & ~bit
  }
}
