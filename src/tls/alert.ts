/** TLS alerts (RFC 8446 §6): the only words that a client which speaks TLS can still be told. */

export const ALERTS = {
  unexpected_message: 10,
  handshake_failure: 40,
  access_denied: 49,
  decode_error: 50,
  internal_error: 80,
  missing_extension: 109,
  unrecognized_name: 112,
} as const

export type AlertName = keyof typeof ALERTS

/** A fatal alert record. Its legacy version is TLS 1.0's, which clients of every age read before negotiation. */
export function fatalAlert(name: AlertName): Buffer {
  return Buffer.from([21, 3, 1, 0, 2, 2, ALERTS[name]])
}
