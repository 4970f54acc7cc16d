/**
 * What the pipeline needs from sockets, and nothing more. Every wire (node:net, and the kernel's own calls) meets
 * this interface, and the pipeline does not know which one it runs on. Network faults are values here, not
 * exceptions.
 */
import type { Duplex } from 'node:stream'
import type { CloseCode } from '../policy/reasons.ts'

export interface Endpoint {
  /** IP literal in canonical text, IPv4-mapped IPv6 already unwrapped. */
  readonly address: string
  readonly port: number
}

export type ReadResult =
  | { readonly kind: 'data'; readonly bytes: Buffer }
  /** The peer sent FIN: it will send no more, and may still read. */
  | { readonly kind: 'end' }
  | { readonly kind: 'timeout' }
  /** The connection is broken; `code` is the errno's name, such as ECONNRESET. */
  | { readonly kind: 'broken'; readonly code: string }

/** What a TLS listener that asks for client certificates found: the names of a verified one, or a problem. */
export interface ClientCertificate {
  /** Names in subjectAltName, or the common name where it has none; only of a certificate that was verified. */
  readonly names?: readonly string[]
  /** Why there is no verified certificate. */
  readonly problem?: string
}

export interface Connection {
  readonly remote: Endpoint
  /** On TLS listeners that ask for one. */
  readonly certificate?: ClientCertificate | undefined
  /**
   * The next bytes, whatever their number, within `timeoutMs`. One read at a time. Between reads at most 64 KiB are
   * kept; then the peer has to wait.
   */
  read(timeoutMs: number): Promise<ReadResult>
  /** Puts bytes back in front of what the next read, or the relay, will see. */
  unread(bytes: Buffer): void
  /** Queues bytes for sending. A failure shows in `gone` and in the next read. */
  write(bytes: Buffer): void
  /** Sends what is queued, then FIN; reading goes on. */
  end(): void
  /** Whether the peer has sent anything yet. */
  readonly spoke: boolean
  /** Settles when the connection breaks (not when the peer merely finishes sending). */
  readonly gone: Promise<void>
  /**
   * The polite end: sends what is queued and FIN, discards what still arrives, and closes when the peer has closed
   * or `lingerMs` are over. Closing at once would make the kernel answer unread bytes with a reset, and the peer
   * would never see the reply.
   */
  finish(lingerMs: number): Promise<void>
  destroy(): void
}

export type DialFailure = 'refused' | 'unreachable' | 'timeout' | 'other'

export type DialResult =
  | { readonly kind: 'connected'; readonly connection: Connection }
  | { readonly kind: 'failed'; readonly failure: DialFailure; readonly code: string }

export interface Dialing {
  /** Never rejects. */
  readonly result: Promise<DialResult>
  /** Gives up; a connection that is already there is closed. */
  abort(): void
}

export interface RelayLimits {
  /** No byte in either direction for this long ends the tunnel. */
  readonly idleTimeoutMs: number
  /** The same, once one side has finished sending. */
  readonly lingerTimeoutMs: number
}

/** Looks at what the two sides of a relay say first, and has some of it held back: it bounds how much, and refuses more. */
export interface Inspector {
  /** Gets all bytes of the client that have not passed yet; answers how many of them may pass now. */
  up(bytes: Buffer): number
  /** The same for the host. */
  down(bytes: Buffer): number
  /** Everything passes from now on, and nothing is asked any more. */
  readonly done: boolean
  /** Nothing passes any more: the tunnel ends with `code`, and `farewell` is the last that the client gets. */
  readonly refused: { readonly code: CloseCode; readonly farewell: Buffer } | undefined
}

export interface Relay {
  /** Bytes from the client to the host so far. */
  readonly bytesUp: number
  /** Bytes from the host to the client so far. */
  readonly bytesDown: number
  /** Ends the tunnel now. */
  close(code: CloseCode): void
}

/** Who is told of the end of a relay: an object, since a closure would be one more thing to hold for each open tunnel. */
export interface RelayOwner {
  /** Once, when both connections are closed. */
  ended(code: CloseCode): void
}

export interface Listener {
  /** Where it listens, with the port that the system chose when 0 was asked. */
  readonly endpoint: Endpoint
  /** Stops accepting; open connections stay. */
  close(): Promise<void>
}

export interface ListeningAddress {
  /** An IP literal. */
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
  /** A socket that listens already, as a service manager passes them on: nothing is bound, and it is the wire's now. */
  readonly fd?: number | undefined
}

export interface Wire {
  readonly name: 'portable' | 'kernel'
  /** Rejects with the system's error (`code` EADDRINUSE, EACCES, …) when it cannot listen. */
  listen(address: ListeningAddress, onConnection: (connection: Connection) => void): Promise<Listener>
  /**
   * Connects to an IP literal. No name is ever resolved here.
   *
   * @param asStream the connection will be given up by {@link Wire.release}. Default: no
   */
  dial(address: string, port: number, asStream?: boolean): Dialing
  /**
   * Joins two connections until both are closed, and then tells `owner` (never before this returns). Takes both over: no
   * more reads or writes on them.
   */
  relay(
    client: Connection,
    upstream: Connection,
    limits: RelayLimits,
    owner: RelayOwner,
    inspector?: Inspector,
  ): Relay
  /**
   * Gives a connection up as a stream of Node's, paused, what was read ahead in front; no more reads or writes on the
   * connection itself. Nothing where it is broken or its peer has finished sending: then it is closed.
   */
  release(connection: Connection): Duplex | undefined
}
