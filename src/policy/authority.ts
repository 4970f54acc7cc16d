/**
 * The authority-form of a CONNECT request-target (RFC 9112 §3.2.3): `host ":" port`, both required
 * (RFC 9110 §9.3.6). Everything that is not exactly that is a typed malformation, so that the refusal and the
 * record can name what is wrong.
 */
import { hasNonAscii, parseHostname, type Hostname, type HostnameDefect } from './hostname.ts'

/** What was wrong with a request-target; the kind that a `malformed_authority` record carries. */
export type Malformation =
  | 'empty'
  | 'missing_port'
  | 'bad_port'
  | 'scheme'
  | 'userinfo'
  | 'path'
  | 'whitespace'
  | 'percent_escape'
  | 'bad_brackets'
  | 'wildcard'
  | 'trailing_dot'
  | 'empty_label'
  | 'not_ascii'
  | 'bad_character'
  | 'too_long'
  | 'bad_label'
  | 'numeric_host'

export type Authority =
  | { readonly kind: 'name'; readonly host: Hostname; readonly port: number }
  /** `host` is the literal as sent, without brackets, lower-case. */
  | { readonly kind: 'ip'; readonly host: string; readonly family: 4 | 6; readonly port: number }
  | { readonly kind: 'malformed'; readonly malformation: Malformation }

const IPV4 =
  /^(?:(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\.){3}(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$/
const PORT = /^[1-9][0-9]{0,4}$/
const MAX_PORT = 65_535

/** Strict dotted-quad, as RFC 3986 `IPv4address`: no octal, hex or short forms. */
export function isIPv4Literal(text: string): boolean {
  return IPV4.test(text)
}

/** RFC 4291 §2.2 text forms, without a zone id. */
export function isIPv6Literal(text: string): boolean {
  if (text.length > 45 || !/^[0-9a-f:.]+$/i.test(text)) return false
  const halves = text.split('::')
  if (halves.length > 2) return false
  let groups = 0
  for (const [index, half] of halves.entries()) {
    if (half === '') continue
    const parts = half.split(':')
    for (const [position, part] of parts.entries()) {
      const last = index === halves.length - 1 && position === parts.length - 1
      if (last && isIPv4Literal(part)) groups += 2
      else if (/^[0-9a-f]{1,4}$/i.test(part)) groups += 1
      else return false
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8
}

/** A decimal port 1 to 65535 without sign or leading zero, or `undefined`. */
export function parsePort(text: string): number | undefined {
  if (!PORT.test(text)) return undefined
  const port = Number(text)
  return port <= MAX_PORT ? port : undefined
}

/**
 * Parses a CONNECT request-target. `target` holds one character for each byte received (latin1), so that bytes
 * above 0x7f are seen as they came.
 */
export function parseAuthority(target: string): Authority {
  if (target === '') return malformed('empty')
  const suspicious = suspiciousSyntax(target)
  if (suspicious) return malformed(suspicious)
  if (target.startsWith('[')) return parseBracketed(target)

  const colon = target.indexOf(':')
  if (colon === -1) return malformed('missing_port')
  const host = target.slice(0, colon)
  const portText = target.slice(colon + 1)
  if (host === '') return malformed('empty')
  if (portText === '') return malformed('missing_port')
  const port = parsePort(portText)
  if (port === undefined) return malformed('bad_port')
  if (isIPv4Literal(host)) return { kind: 'ip', host, family: 4, port }
  const name = parseHostname(host)
  return name.ok ? { kind: 'name', host: name.hostname, port } : malformed(FROM_HOSTNAME[name.defect])
}

function parseBracketed(target: string): Authority {
  const close = target.indexOf(']')
  if (close === -1) return malformed('bad_brackets')
  const host = target.slice(1, close).toLowerCase()
  // A zone id (`%eth0`) never gets here: percent signs are refused above. Names do not go in brackets.
  if (!isIPv6Literal(host)) return malformed('bad_brackets')
  const rest = target.slice(close + 1)
  if (rest === '' || rest === ':') return malformed('missing_port')
  if (!rest.startsWith(':')) return malformed('bad_brackets')
  const port = parsePort(rest.slice(1))
  return port === undefined ? malformed('bad_port') : { kind: 'ip', host, family: 6, port }
}

/** Recognises the malformations that deserve a name of their own; the grammar would refuse them anyway. */
function suspiciousSyntax(target: string): Malformation | undefined {
  if (hasNonAscii(target)) return 'not_ascii'
  if (/[\s\0]/.test(target)) return 'whitespace'
  if (target.includes('://')) return 'scheme'
  if (target.includes('@')) return 'userinfo'
  if (/[/?#\\]/.test(target)) return 'path'
  if (target.includes('%')) return 'percent_escape'
  if (target.includes('*')) return 'wildcard'
  if (/^[^[].*[[\]]/.test(target)) return 'bad_brackets'
  return undefined
}

const FROM_HOSTNAME: Record<HostnameDefect, Malformation> = {
  empty: 'empty',
  too_long: 'too_long',
  trailing_dot: 'trailing_dot',
  empty_label: 'empty_label',
  not_ascii: 'not_ascii',
  bad_character: 'bad_character',
  bad_label: 'bad_label',
  numeric: 'numeric_host',
}

function malformed(malformation: Malformation): Authority {
  return { kind: 'malformed', malformation }
}
