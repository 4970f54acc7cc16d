/**
 * Watches the beginning of a TLS handshake whose first ClientHello has named the right server. A HelloRetryRequest (RFC
 * 8446 §4.1.4) has the client send a second ClientHello, again in clear, and servers go by that one: it must name the
 * same. Until the host has answered, handshake records of the client are held back; all else passes as it comes, and is
 * only counted. Pure: bytes in, how many of them may pass out.
 */
import { fatalAlert } from './alert.ts'
import { ClientHelloParser, MAX_HELLO_BYTES } from './client-hello.ts'
import { judgeAnswer } from './server-hello.ts'

const CHANGE_CIPHER_SPEC = 20
const HANDSHAKE = 22
const CLIENT_HELLO = 1
const HEARTBEAT = 24
const RECORD_HEADER_BYTES = 5
const MESSAGE_HEADER_BYTES = 4

/** Meets `Inspector` of wire/types.ts. */
export class HandshakeWatch {
  done = false
  refused: { readonly code: 'sni_changed'; readonly farewell: Buffer } | undefined
  readonly #serverName: string
  /** `asked`: the first ClientHello has passed; `retried`: the host wants another. */
  #state: 'fresh' | 'asked' | 'retried' = 'fresh'
  /** Of the client's record that passes now: how much of its header has come, and how many bytes are still to come. */
  #headerSize = 0
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
    while (at < bytes.length) {
      if (this.#headerSize === 0 && this.#passing > 0) {
        const step = Math.min(this.#passing, bytes.length - at)
        this.#passing -= step
        at += step
      } else if (this.#headerSize === 0 && bytes[at] === HANDSHAKE) {
        return at + this.#handshake(bytes.subarray(at))
      } else {
        if (this.#headerSize === 0 && !isContentType(bytes[at] ?? 0)) return this.#letPass(bytes)
        // Compatibility, early data that was not wanted, an alert: the second ClientHello may still follow.
        // Its last two bytes are the length of the rest.
        if (this.#headerSize >= RECORD_HEADER_BYTES - 2)
          this.#passing = this.#passing * 256 + (bytes[at] ?? 0)
        this.#headerSize = (this.#headerSize + 1) % RECORD_HEADER_BYTES
        at += 1
      }
    }
    return at
  }

  down(bytes: Buffer): number {
    if (this.#state !== 'asked') return bytes.length
    const answer = judgeAnswer(bytes)
    if (answer === 'incomplete') return 0
    if (answer === 'retry') this.#state = 'retried'
    else this.done = true
    return bytes.length
  }

  /** A handshake record of the client. */
  #handshake(bytes: Buffer): number {
    if (this.#state === 'asked') {
      // Anything but a ClientHello is the end of the handshake, as far as an honest server goes.
      const type = bytes[RECORD_HEADER_BYTES] ?? CLIENT_HELLO
      if (type !== CLIENT_HELLO) return this.#letPass(bytes)
      // No client has so much to say before it has been asked.
      return bytes.length > MAX_HELLO_BYTES ? this.#refuse() : 0
    }
    const hello = new ClientHelloParser().push(bytes)
    if (hello.kind === 'incomplete') return 0
    if (hello.kind === 'refused' || hello.serverName !== this.#serverName) return this.#refuse()
    return this.#letPass(bytes)
  }

  #letPass(bytes: Buffer): number {
    this.done = true
    return bytes.length
  }

  #refuse(): 0 {
    this.refused = { code: 'sni_changed', farewell: fatalAlert('unrecognized_name') }
    return 0
  }
}

/** No TLS server goes on after another (RFC 8446 §5); the version in a record's header it ignores (§5.1), and so do we. */
function isContentType(type: number): boolean {
  return type >= CHANGE_CIPHER_SPEC && type <= HEARTBEAT
}

/** Where the last record ends of a ClientHello that has been read whole; a record may be as short as a byte. */
function endOfHello(bytes: Buffer): number {
  let messageLength = 0
  let payload = 0
  let at = 0
  do {
    const body = at + RECORD_HEADER_BYTES
    at = body + bytes.readUInt16BE(at + 3)
    // The message's own header: its type, then three bytes of its length.
    for (let i = body; i < at && payload + (i - body) < MESSAGE_HEADER_BYTES; i += 1) {
      if (payload + (i - body) > 0) messageLength = messageLength * 256 + (bytes[i] ?? 0)
    }
    payload += at - body
  } while (payload < MESSAGE_HEADER_BYTES || payload < MESSAGE_HEADER_BYTES + messageLength)
  return at
}
