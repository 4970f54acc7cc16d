/**
 * Looks at how a TLS server begins its answer: with a ServerHello, or with a HelloRetryRequest (RFC 8446 §4.1.4), which
 * asks for another ClientHello. That one is in clear, and may name another server. Pure.
 */

export type Answer = 'incomplete' | 'retry' | 'other'

/** What a ServerHello has as its random when it is a HelloRetryRequest: SHA-256 of "HelloRetryRequest". */
export const RETRY_RANDOM = Buffer.from(
  'cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c',
  'hex',
)

const ALERT = 21
const HANDSHAKE = 22
const WARNING = 1
const RECORD_HEADER_BYTES = 5
const SERVER_HELLO = 2
/** The message's type, its length and the version come before the random. */
const RANDOM_AT = 6
/** Records that are looked through for the first handshake message; before it come an alert or two at most. */
const MAX_BYTES = 16 * 1024

/**
 * Judges the first bytes of a server. `other`: an answer behind which no ClientHello follows in clear, or none of TLS at
 * all; `incomplete`: the same bytes with more behind them will tell.
 */
export function judgeAnswer(bytes: Buffer): Answer {
  /** Bytes of the message so far. */
  let seen = 0
  for (let at = 0; at < bytes.length;) {
    const type = bytes[at]
    const body = at + RECORD_HEADER_BYTES
    // A warning may come before the ServerHello (RFC 6066 §3); whatever else comes first is the end of a handshake.
    if (type !== HANDSHAKE && (type !== ALERT || seen > 0)) return 'other'
    if (type === ALERT && body < bytes.length && bytes[body] !== WARNING) return 'other'
    if (body > bytes.length) break
    at = body + bytes.readUInt16BE(at + 3)
    if (type === ALERT) continue
    for (const byte of bytes.subarray(body, at)) {
      if (!fits(seen, byte)) return 'other'
      seen += 1
      if (seen === RANDOM_AT + RETRY_RANDOM.length) return 'retry'
    }
  }
  return bytes.length > MAX_BYTES ? 'other' : 'incomplete'
}

/** Whether the message's byte number `at` is as in a HelloRetryRequest. */
function fits(at: number, byte: number): boolean {
  if (at === 0) return byte === SERVER_HELLO
  return at < RANDOM_AT || byte === RETRY_RANDOM[at - RANDOM_AT]
}
