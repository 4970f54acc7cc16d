/** The most characters of client text that a record or a reply carries. */
export const MAX_CLIENT_TEXT = 256

/** What most clients send: nothing in it to escape. */
const PLAIN = /^[ !#$%(-;=?-[\]-_a-~]*$/

/**
 * Makes text from a client safe to log and print: bytes outside printable ASCII, and the characters of markup and
 * quoting, become `\xNN`, so that no terminal control, line separator or tag survives; the length is bounded.
 */
export function escapeClientText(text: string, max = MAX_CLIENT_TEXT): string {
  if (text.length <= max && PLAIN.test(text)) return text
  const cut = text.length > max ? text.slice(0, max) : text
  // oxlint-disable-next-line no-control-regex -- control characters are what this is about
  const escaped = cut.replace(/[^\x20-\x7e]|[\\<>&"'`]/g, (character) =>
    character === '\\' ? '\\\\' : `\\x${character.charCodeAt(0).toString(16).padStart(2, '0')}`,
  )
  return text.length > max ? `${escaped}…(${text.length} bytes)` : escaped
}

/**
 * A request-target as it may be recorded: what stands before an `@`, and a query, can be credentials and are masked.
 */
export function maskTarget(target: string): string {
  return (
    target
      // An `@` behind a `?` or `#`: a query, or a password with such a character in it. Nobody can tell.
      .replace(/^((?:[a-z][a-z0-9+.-]*:)?\/\/)?[^?#]*[?#].*@.*$/is, '$1***')
      .replace(/[?#].*$/s, '?***')
      .replace(/^((?:[a-z][a-z0-9+.-]*:)?\/\/)?.*@/is, '$1***@')
  )
}
