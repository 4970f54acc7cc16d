/** What a relay knows of one direction. */
import type { Handover } from './connection.ts'
import type { Pipe } from './pipes.ts'

// What is true of a direction, as bits of one number: a tunnel has two of them and stays open for days, and nine fields
// would take 130 bytes more.

/** The source may have something to read. */
export const READABLE = 1 << 0
/** The sink may take something. */
export const WRITABLE = 1 << 1
/** The sink is watched for becoming writable: only once it was not. */
export const WATCHES_OUT = 1 << 2
/** A FIN was announced: even after a short read there is an end to be read. */
export const FIN_SEEN = 1 << 3
/** The source has ended. */
export const ENDED = 1 << 4
/** The source has ended, and the sink was told. */
export const SHUT = 1 << 5
/** The source was found broken by sending to it: behind its last bytes is no end. */
export const DEAD = 1 << 6
/** The last reads were large: splice. */
export const BULK = 1 << 7
/** splice(2) has refused these sockets. */
export const UNSPLICEABLE = 1 << 8

/** One direction of a tunnel. */
export interface Flow {
  readonly source: number
  readonly sink: number
  is: number
  pipe: Pipe | undefined
  inPipe: number
  /** Bytes that were read and not sent yet. */
  rest: Buffer | undefined
  /** Behind those: bytes that the inspector has not let pass yet. */
  held: Buffer | undefined
  bytes: number
}

/** Puts bytes behind those that wait to be sent. They are the flow's from then on. */
export function append(flow: Flow, bytes: Buffer): void {
  if (bytes.length > 0) flow.rest = flow.rest ? Buffer.concat([flow.rest, bytes]) : bytes
}

/** What the source had read ahead is not in it yet. */
export function openFlow(source: Handover, sink: Handover): Flow {
  return {
    source: source.slot,
    sink: sink.slot,
    is:
      WRITABLE |
      (source.readable ? READABLE : 0) |
      (source.finSeen ? FIN_SEEN : 0) |
      (source.ended ? ENDED : 0) |
      (sink.watchesOut ? WATCHES_OUT : 0),
    pipe: undefined,
    inPipe: 0,
    rest: sink.unsent,
    held: undefined,
    bytes: sink.unsent ? -sink.unsent.length : 0,
  }
}
