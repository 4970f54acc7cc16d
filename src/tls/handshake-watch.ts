/**
 * Watches the beginning of a TLS handshake whose first ClientHello has named the right server. A HelloRetryRequest (RFC
 * 8446 §4.1.4) has the client send a second ClientHello, again in clear, and servers go by that one: it must name the
 * same. Until the host has answered, handshake records of the client are held back; all else passes as it comes, and is
 * only counted. Pure: bytes in, how many of them may pass out.
 */
import { fatalAlert } from './alert.ts'
import { ClientHelloParser, MAX_HELLO_BYTES } from './client-hello.ts'
import { ServerHelloProbe } from './server-hello.ts'

const CHANGE_CIPHER_SPEC = 20
const HANDSHAKE = 22
const APPLICATION_DATA = 23
const RECORD_HEADER_BYTES = 5
const MESSAGE_HEADER_BYTES = 4

/** Meets `Inspector` of wire/types.ts. */
export class HandshakeWatch {
  done = false
  refused: { readonly code: 'sni_changed'; readonly farewell: Buffer } | undefined
  readonly #serverName: string
  /** `asked`: the first ClientHello has passed; `retried`: the host wants another. */
  #state: 'fresh' | 'asked' | 'retried' = 'fresh'
  /** Bytes still to come of a record of the client that passes. */
  #passing = 0

  constructor(serverName: string) {
    this.#serverName = serverName
  }

  up(bytes: Buffer): number {
    let at = 0
    if (this.#state === 'fresh') {
      this.#state = 'asked'
      at = endOfHello(bytes)
    }
    for (;;) {
      const step = Math.min(this.#passing, bytes.length - at)
      this.#passing -= step
      at += step
      const type = bytes[at]
      if (type === undefined) return at
      if (type === HANDSHAKE) return at + this.#handshake(bytes.subarray(at))
      if (type < CHANGE_CIPHER_SPEC || type > APPLICATION_DATA) {
        // No TLS server goes on after that (RFC 8446 §5).
        this.done = true
        return bytes.length
      }
      // Compatibility, early data that was not wanted, an alert: the second ClientHello may still follow.
      if (bytes.length < at + RECORD_HEADER_BYTES) return at
      this.#passing = RECORD_HEADER_BYTES + bytes.readUInt16BE(at + 3)
    }
  }

  down(bytes: Buffer): number {
    if (this.#state !== 'asked') return bytes.length
    const answer = new ServerHelloProbe().push(bytes)
    if (answer === 'incomplete') return 0
    if (answer === 'retry') this.#state = 'retried'
    else this.done = true
    return bytes.length
  }

  /** A handshake record: of what the host has not asked for yet, or of the second ClientHello. */
  #handshake(bytes: Buffer): number {
    // No client has so much to say before it has been asked.
    if (this.#state === 'asked') return bytes.length > MAX_HELLO_BYTES ? this.#refuse() : 0
    const hello = new ClientHelloParser().push(bytes)
    if (hello.kind === 'incomplete') return 0
    if (hello.kind === 'refused' || hello.serverName !== this.#serverName) return this.#refuse()
    this.done = true
    return bytes.length
  }

  #refuse(): 0 {
    this.refused = { code: 'sni_changed', farewell: fatalAlert('unrecognized_name') }
    return 0
  }
}

/** Where the last record ends of a ClientHello that has been read whole; a record may be as short as a byte. */
function endOfHello(bytes: Buffer): number {
  let header = Buffer.alloc(0)
  let payload = 0
  let at = 0
  do {
    const body = at + RECORD_HEADER_BYTES
    at = body + bytes.readUInt16BE(at + 3)
    payload += at - body
    if (header.length < MESSAGE_HEADER_BYTES) header = Buffer.concat([header, bytes.subarray(body, at)])
  } while (
    header.length < MESSAGE_HEADER_BYTES ||
    payload < MESSAGE_HEADER_BYTES + header.readUIntBE(1, MESSAGE_HEADER_BYTES - 1)
  )
  return at
}
