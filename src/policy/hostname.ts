/**
 * Canonical hostnames. There is one spelling of a host in the whole program: lower-case ASCII letters, digits
 * and hyphens in labels of 1 to 63, joined by dots, at most 253 characters, no trailing dot, and a last label
 * that is no number (RFC 1123 §2.1: so that no name reads as an IPv4 address). WHATWG URL is not used: it
 * rewrites `0x7f.1`, full-width letters and the like into something else than what was sent.
 */

/** A name in canonical spelling. Only {@link parseHostname} makes one. */
export type Hostname = string & { readonly __hostname: unique symbol }

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
/** A last label that inet_aton, and WHATWG URL, take for a number: then the whole is an IPv4 address to them. */
const NUMBER = /^(?:[0-9]+|0x[0-9a-f]*)$/
const MAX_HOSTNAME_LENGTH = 253

/** Why a text is not a hostname. */
export type HostnameDefect =
  | 'empty'
  | 'too_long'
  | 'trailing_dot'
  | 'empty_label'
  | 'not_ascii'
  | 'bad_character'
  | 'bad_label'
  | 'numeric'

export type HostnameResult =
  { readonly ok: true; readonly hostname: Hostname } | { readonly ok: false; readonly defect: HostnameDefect }

/** Parses a name sent by a client or written in a rule; upper case is folded, nothing else is forgiven. */
export function parseHostname(text: string): HostnameResult {
  if (text === '') return { ok: false, defect: 'empty' }
  if (hasNonAscii(text)) return { ok: false, defect: 'not_ascii' }
  const name = text.toLowerCase()
  if (!/^[a-z0-9.-]+$/.test(name)) return { ok: false, defect: 'bad_character' }
  if (name.length > 1 && name.endsWith('.') && !name.endsWith('..'))
    return { ok: false, defect: 'trailing_dot' }
  if (name.length > MAX_HOSTNAME_LENGTH) return { ok: false, defect: 'too_long' }
  const labels = name.split('.')
  if (labels.includes('')) return { ok: false, defect: 'empty_label' }
  if (!labels.every((label) => LABEL.test(label))) return { ok: false, defect: 'bad_label' }
  if (NUMBER.test(labels.at(-1) ?? '')) return { ok: false, defect: 'numeric' }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the one place where the brand is made
  return { ok: true, hostname: name as Hostname }
}

/** The names above a host, nearest first: `a.b.c` gives `b.c`, `c`. */
export function* parentsOf(hostname: string): Generator<string> {
  for (let dot = hostname.indexOf('.'); dot !== -1; dot = hostname.indexOf('.', dot + 1)) {
    yield hostname.slice(dot + 1)
  }
}

export function hasNonAscii(text: string): boolean {
  // oxlint-disable-next-line no-control-regex -- the whole ASCII range is meant
  return /[^\x00-\x7f]/.test(text)
}
