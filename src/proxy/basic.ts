/** Basic credentials (RFC 7617) out of Proxy-Authorization (RFC 9110 §11.7.2). Pure; nothing of them is ever quoted. */
import type { Credentials } from './verify-password.ts'

/** RFC 9110 §11.7.1: what a 407 asks for. */
export const CHALLENGE = 'Basic realm="sallyport", charset="UTF-8"'

const BASIC = /^basic +([A-Za-z0-9+/]+={0,2})$/i

/** @param fields the values of every Proxy-Authorization field; exactly one well-formed one is credentials */
export function parseBasic(fields: readonly string[]): Credentials | undefined {
  const [field, second] = fields
  const encoded = field === undefined || second !== undefined ? undefined : BASIC.exec(field)?.[1]
  if (encoded === undefined) return undefined
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(encoded, 'base64'))
  } catch {
    return undefined
  }
  const colon = text.indexOf(':')
  // RFC 7617 §2: no control characters in either part.
  if (colon <= 0 || /\p{Cc}/u.test(text)) return undefined
  return { user: text.slice(0, colon), password: text.slice(colon + 1) }
}
