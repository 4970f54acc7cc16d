/** What a relay knows of one direction. */
import type { Handover } from './connection.ts'
import type { Pipe } from './pipes.ts'

/** One direction of a tunnel. */
export interface Flow {
  readonly source: number
  readonly sink: number
  /** The source may have something to read, the sink may take something. */
  readable: boolean
  writable: boolean
  /** The sink is watched for becoming writable: only once it was not. */
  watchesOut: boolean
  /** A FIN was announced: even after a short read there is an end to be read. */
  finSeen: boolean
  /** The source has ended; `shut`: and the sink was told. */
  ended: boolean
  shut: boolean
  /** The source was found broken by sending to it: behind its last bytes is no end. */
  dead: boolean
  /** The last reads were large: splice. */
  bulk: boolean
  /** splice(2) has not refused these sockets. */
  splices: boolean
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
    readable: source.readable,
    writable: true,
    finSeen: source.finSeen,
    watchesOut: sink.watchesOut,
    ended: source.ended,
    shut: false,
    dead: false,
    bulk: false,
    splices: true,
    pipe: undefined,
    inPipe: 0,
    rest: sink.unsent,
    held: undefined,
    bytes: sink.unsent ? -sink.unsent.length : 0,
  }
}
