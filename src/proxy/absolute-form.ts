/**
 * A request in absolute-form (RFC 9112 §3.2.2) to an https URL, strictly: what `forward.absoluteForm: on` serves. Its
 * body must be framed beyond doubt, since whoever reads the length otherwise than the host smuggles a request. Pure.
 */
import type { Fields, HeadRefusal, RequestLine } from './head.ts'

/** A well-formed request; the target is still to be parsed. */
export interface AbsoluteHead {
  readonly kind: 'absolute'
  readonly method: string
  /** The authority of the URL, with the port that it means; one character for each byte received. */
  readonly target: string
  /** Path and query; never recorded. */
  readonly path: string
  readonly version: '1.0' | '1.1'
  readonly host: string | undefined
  readonly userAgent: string | undefined
  /** Every Proxy-Authorization value; secret. */
  readonly proxyAuthorization: readonly string[] | undefined
  /** All of them, as received. */
  readonly fields: Fields
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
/** The authority, and what follows it: printable ASCII, and no fragment. */
const HTTPS_URL = /^https:\/\/([^/?#]*)((?:[/?][!"$-~]*)?)$/i
const LENGTH = /^\d{1,15}$/

/** What is recorded of a target ends before the path: that is where links carry their tokens. */
export function originOf(target: string): string {
  return target.replace(/^(https?:\/\/[^/?#]*).*$/is, '$1')
}

/**
 * Nothing where the target is no https URL.
 *
 * @param hostDefect what is wrong with the Host field
 */
export function absoluteForm(
  line: RequestLine,
  fields: Fields,
  hostDefect: string | undefined,
): AbsoluteHead | HeadRefusal | undefined {
  if (!/^https:\/\//i.test(line.target)) return undefined
  const userAgent = fields.get('user-agent')?.[0]
  const { method, version } = line
  const url = HTTPS_URL.exec(line.target)
  const [, authority = '', path = ''] = url ?? []
  const asked = { ...line, ...(userAgent !== undefined && { userAgent }) }
  if (!METHODS.includes(method)) {
    return {
      kind: 'refused',
      code: 'method_not_allowed',
      detail: `forwarded are ${METHODS.join(' ')}`,
      ...asked,
    }
  }
  const defect = url
    ? (hostDefect ?? checkFields(method, version, fields))
    : 'the URL is not plain ASCII without a fragment'
  if (defect !== undefined) return { kind: 'refused', code: 'malformed_request', detail: defect, ...asked }
  return {
    kind: 'absolute',
    method,
    target: /:\d*$/.test(authority) && !authority.endsWith(']') ? authority : `${authority}:443`,
    path: path.startsWith('/') ? path : `/${path}`,
    version: version === '1.0' ? '1.0' : '1.1',
    host: fields.get('host')?.[0],
    userAgent,
    proxyAuthorization: fields.get('proxy-authorization'),
    fields,
  }
}

/** What is wrong with the framing of the body, or asks for another protocol. */
function checkFields(method: string, version: string, fields: Fields): string | undefined {
  const lengths = fields.get('content-length')
  const codings = fields.get('transfer-encoding')
  if (codings && lengths) return 'both Transfer-Encoding and Content-Length (RFC 9112 section 6.3)'
  if (lengths && (lengths.length > 1 || !LENGTH.test(lengths[0] ?? ''))) return 'a bad Content-Length'
  if (codings && (version !== '1.1' || codings.length > 1 || codings[0]?.toLowerCase() !== 'chunked')) {
    return 'a Transfer-Encoding that is not `chunked` in HTTP/1.1'
  }
  if (codings && (method === 'DELETE' || method === 'OPTIONS')) {
    return `a ${method} with Transfer-Encoding; send its Content-Length`
  }
  if (fields.has('upgrade')) return 'an Upgrade field; for another protocol use CONNECT'
  const expected = fields.get('expect')
  if (expected && (expected.length > 1 || expected[0]?.toLowerCase() !== '100-continue')) {
    return 'an Expect field that is not `100-continue`'
  }
  return undefined
}
