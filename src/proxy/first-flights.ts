/**
 * The beginning of a tunnel whose server name has to hold: the ClientHello goes to the host, and nothing behind it before
 * the host has answered. Where the answer is a HelloRetryRequest (RFC 8446 §4.1.4), the client sends a second ClientHello,
 * again in clear, and servers go by the second: it has to name the same host. Everything else goes as it came.
 */
import type { Clock } from '../clock.ts'
import type { CloseCode } from '../policy/reasons.ts'
import { ClientHelloParser } from '../tls/client-hello.ts'
import { ServerHelloProbe } from '../tls/server-hello.ts'
import type { Connection, ReadResult, Relay, RelayLimits } from '../wire/types.ts'

/** A Relay as the one that follows it, so that whoever lists or closes tunnels need not know the difference. */
export class FirstFlights implements Relay {
  bytesUp = 0
  bytesDown = 0
  #closed: CloseCode | undefined
  readonly #client: Connection
  readonly #upstream: Connection
  readonly #host: string
  readonly #limits: RelayLimits & { readonly helloTimeoutMs: number }
  readonly #clock: Clock

  /** @param client has its ClientHello, and perhaps more, to be read again */
  constructor(
    client: Connection,
    upstream: Connection,
    host: string,
    limits: RelayLimits & { readonly helloTimeoutMs: number },
    clock: Clock,
  ) {
    this.#client = client
    this.#upstream = upstream
    this.#host = host
    this.#limits = limits
    this.#clock = clock
  }

  close(code: CloseCode): void {
    this.#closed ??= code
    this.#client.destroy()
    this.#upstream.destroy()
  }

  /** Answers with nothing when the rest is the relay's, or with why the tunnel ends here. */
  async pass(): Promise<CloseCode | undefined> {
    const hello = await this.#client.read(0)
    if (hello.kind !== 'data') return this.#closed ?? 'client_reset'
    const end = endOfHello(hello.bytes)
    this.#client.unread(hello.bytes.subarray(end))
    this.#send(hello.bytes.subarray(0, end))
    const answer = await this.#answer()
    if (answer !== 'retry') return this.#closed ?? answer
    return this.#closed ?? (await this.#secondHello())
  }

  #send(bytes: Buffer): void {
    this.bytesUp += bytes.length
    this.#upstream.write(bytes)
  }

  /** Waits for the host, as long as an idle tunnel may; a client that has finished meanwhile waits for nothing. */
  async #answer(): Promise<'retry' | CloseCode | undefined> {
    const { idleTimeoutMs, lingerTimeoutMs } = this.#limits
    const dueMs = this.#clock.monotonicMs() + idleTimeoutMs
    const probe = new ServerHelloProbe()
    for (;;) {
      const leftMs = dueMs - this.#clock.monotonicMs()
      const read = await Promise.race([
        this.#upstream.read(Math.min(leftMs, lingerTimeoutMs)),
        this.#client.gone,
      ])
      if (!read) return 'client_reset'
      if (read.kind === 'timeout') {
        if (leftMs <= lingerTimeoutMs) return 'idle_timeout'
        if (this.#client.finished) return 'linger_timeout'
        continue
      }
      const answer = read.kind === 'data' ? probe.push(read.bytes) : 'other'
      if (answer === 'incomplete') continue
      if (answer === 'retry') {
        this.bytesDown += probe.bytes.length
        this.#client.write(probe.bytes)
        return 'retry'
      }
      this.#upstream.unread(probe.bytes)
      return undefined
    }
  }

  /** Before the second hello there may be a change_cipher_spec, and early data that the server does not want any more. */
  async #secondHello(): Promise<CloseCode | undefined> {
    const dueMs = this.#clock.monotonicMs() + this.#limits.helloTimeoutMs
    const parser = new ClientHelloParser()
    let held: Buffer = Buffer.alloc(0)
    for (;;) {
      const read = await this.#client.read(dueMs - this.#clock.monotonicMs())
      if (read.kind !== 'data') return this.#closed ?? endOf(read)
      held = held.length === 0 ? read.bytes : Buffer.concat([held, read.bytes])
      if (parser.bytes.length === 0) {
        const records = endOfOthers(held)
        if (records > 0) this.#send(held.subarray(0, records))
        held = held.subarray(records)
        if (held.length === 0 || isOther(held)) continue
      }
      const result = parser.push(held)
      held = Buffer.alloc(0)
      if (result.kind === 'incomplete') continue
      if (result.kind === 'refused' || result.serverName !== this.#host) return 'sni_changed'
      this.#client.unread(parser.bytes)
      return undefined
    }
  }
}

function endOf(read: Exclude<ReadResult, { kind: 'data' }>): CloseCode {
  if (read.kind === 'timeout') return 'idle_timeout'
  return read.kind === 'end' ? 'completed' : 'client_reset'
}

const RECORD_HEADER_BYTES = 5
const CHANGE_CIPHER_SPEC = 20
const ALERT = 21
const APPLICATION_DATA = 23

/** Where the record ends in which a ClientHello ends that has been read whole. */
function endOfHello(bytes: Buffer): number {
  const length = 4 + bytes.readUIntBE(RECORD_HEADER_BYTES + 1, 3)
  let at = 0
  for (let payload = 0; payload < length && at + RECORD_HEADER_BYTES <= bytes.length;) {
    const record = bytes.readUInt16BE(at + 3)
    payload += record
    at += RECORD_HEADER_BYTES + record
  }
  return at
}

function isOther(bytes: Buffer): boolean {
  const type = bytes[0]
  return type === CHANGE_CIPHER_SPEC || type === ALERT || type === APPLICATION_DATA
}

/** Where the whole records end that are no handshake. */
function endOfOthers(bytes: Buffer): number {
  let at = 0
  while (isOther(bytes.subarray(at)) && bytes.length >= at + RECORD_HEADER_BYTES) {
    const end = at + RECORD_HEADER_BYTES + bytes.readUInt16BE(at + 3)
    if (end > bytes.length) break
    at = end
  }
  return at
}
