/**
 * The portable wire, except that what is dialled never leaves the machine: the address that the gate chose is noted,
 * and the connection goes to a local server instead, or fails as told. So the tests can use public addresses.
 */
import type { Duplex } from 'node:stream'
import type { Connection, Dialing, DialFailure, Listener, Relay, Wire } from '../../src/wire/types.ts'

export interface Dialled {
  readonly address: string
  readonly port: number
}

export class DivertedWire implements Wire {
  get name(): Wire['name'] {
    return this.#inner.name
  }

  readonly dialled: Dialled[] = []
  /** Connections that were accepted, in order. */
  readonly accepted: Connection[] = []
  /** Addresses whose dial fails, and how; `silence` is one that never answers. */
  readonly failures = new Map<string, DialFailure | 'silence'>()
  readonly #inner: Wire
  readonly #localPort: number

  constructor(inner: Wire, localPort: number) {
    this.#inner = inner
    this.#localPort = localPort
  }

  listen(
    address: { host: string; port: number },
    onConnection: (connection: Connection) => void,
  ): Promise<Listener> {
    return this.#inner.listen(address, (connection) => {
      this.accepted.push(connection)
      onConnection(connection)
    })
  }

  dial(address: string, port: number, asStream?: boolean): Dialing {
    this.dialled.push({ address, port })
    const failure = this.failures.get(address)
    if (failure === undefined) return this.#inner.dial('127.0.0.1', this.#localPort, asStream)
    if (failure === 'silence') return { result: new Promise(() => undefined), abort: () => undefined }
    return {
      result: Promise.resolve({ kind: 'failed', failure, code: `E${failure.toUpperCase()}` }),
      abort: () => undefined,
    }
  }

  /** Dials without a detour. */
  direct(address: string, port: number): Dialing {
    return this.#inner.dial(address, port)
  }

  relay(...args: Parameters<Wire['relay']>): Relay {
    return this.#inner.relay(...args)
  }

  release(connection: Connection): Duplex | undefined {
    return this.#inner.release(connection)
  }
}
