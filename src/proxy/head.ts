/**
 * The request head, strictly (RFC 9112): CRLF line ends, tokens, no folding, no control bytes, bounded. The same on
 * every wire. Pure: bytes in, verdict out. Whatever this parser and `parseAuthority` accept, Node's parser accepts with
 * the same meaning.
 */
import type { RefusalCode } from '../policy/reasons.ts'
import { absoluteForm, type AbsoluteHead } from './absolute-form.ts'

export const MAX_HEAD_BYTES = 16 * 1024
export const MAX_FIELDS = 64

/** A CONNECT request whose head is well-formed; the target is still to be parsed. */
export interface ConnectHead {
  readonly kind: 'connect'
  /** One character for each byte received. */
  readonly target: string
  readonly version: '1.0' | '1.1'
  readonly host: string | undefined
  readonly userAgent: string | undefined
  /** Every Proxy-Authorization value; secret. */
  readonly proxyAuthorization: readonly string[] | undefined
}

export interface HeadRefusal {
  readonly kind: 'refused'
  readonly code: Extract<
    RefusalCode,
    'malformed_request' | 'method_not_allowed' | 'head_too_large' | 'tls_on_plain_port'
  >
  /** What is wrong, in our own words. */
  readonly detail: string
  readonly method?: string
  readonly target?: string
  readonly version?: string
  readonly userAgent?: string
}

export type HeadResult =
  | { readonly kind: 'incomplete' }
  | HeadRefusal
  /** `rest` is what followed the head: the first bytes of the tunnel. */
  | (ConnectHead & { readonly rest: Buffer })
  | (AbsoluteHead & { readonly rest: Buffer })

const CR = 0x0d
const LF = 0x0a
const HTAB = 0x09
const TLS_HANDSHAKE = 0x16
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/

/** Collects the bytes of one head. Each byte is looked at once, however the segments fall. */
export class HeadParser {
  #bytes: Buffer = Buffer.alloc(0)
  #scanned = 0
  /** Offset at which the current line starts. */
  #lineStart = 0
  #lines: string[] = []
  #requestLine: RequestLine | undefined
  readonly #forwards: boolean

  /** @param forwards whether `forward.absoluteForm` is on */
  constructor(forwards = false) {
    this.#forwards = forwards
  }

  get received(): number {
    return this.#bytes.length
  }

  push(chunk: Buffer): HeadResult {
    this.#bytes = this.#bytes.length === 0 ? chunk : Buffer.concat([this.#bytes, chunk])
    if (this.#bytes[0] === TLS_HANDSHAKE) {
      return { kind: 'refused', code: 'tls_on_plain_port', detail: 'the first byte starts a TLS handshake' }
    }
    return this.#scan()
  }

  #scan(): HeadResult {
    const bytes = this.#bytes
    const end = Math.min(bytes.length, MAX_HEAD_BYTES)
    for (; this.#scanned < end; this.#scanned += 1) {
      const byte = bytes[this.#scanned]
      if (byte === LF) {
        if (this.#scanned === this.#lineStart || bytes[this.#scanned - 1] !== CR)
          return this.#malformed('a bare LF')
        const line = bytes.toString('latin1', this.#lineStart, this.#scanned - 1)
        this.#lineStart = this.#scanned + 1
        const verdict = this.#takeLine(line)
        if (verdict) return verdict
      } else if (byte !== undefined && (byte < 0x20 || byte === 0x7f) && byte !== HTAB && byte !== CR) {
        return this.#malformed('a control byte')
      } else if (this.#scanned > this.#lineStart && bytes[this.#scanned - 1] === CR) {
        return this.#malformed('a bare CR')
      }
    }
    if (bytes.length >= MAX_HEAD_BYTES) return this.#refused('head_too_large', `over ${MAX_HEAD_BYTES} bytes`)
    return { kind: 'incomplete' }
  }

  #takeLine(line: string): HeadResult | undefined {
    if (!this.#requestLine) {
      // Judged as soon as it is there: what does not speak HTTP may never send the empty line.
      const parsed = parseRequestLine(line)
      if ('kind' in parsed) return parsed
      this.#requestLine = parsed
      return undefined
    }
    if (line !== '') {
      if (this.#lines.length === MAX_FIELDS)
        return this.#refused('head_too_large', `over ${MAX_FIELDS} fields`)
      this.#lines.push(line)
      return undefined
    }
    const head = checkHead(this.#requestLine, this.#lines, this.#forwards)
    return head.kind === 'refused' ? head : { ...head, rest: this.#bytes.subarray(this.#lineStart) }
  }

  #malformed(detail: string): HeadRefusal {
    return this.#refused('malformed_request', detail)
  }

  #refused(code: HeadRefusal['code'], detail: string): HeadRefusal {
    return { kind: 'refused', code, detail, ...this.#requestLine }
  }
}

export interface RequestLine {
  readonly method: string
  readonly target: string
  readonly version: string
}

function parseRequestLine(line: string): RequestLine | HeadRefusal {
  const malformed = (detail: string, more: Partial<RequestLine> = {}): HeadRefusal => ({
    kind: 'refused',
    code: 'malformed_request',
    detail,
    ...more,
  })
  const parts = line.split(' ')
  const [method = '', target = '', protocol = ''] = parts
  if (!TOKEN.test(method)) return malformed('the request line does not start with a method')
  // The HTTP/2 preface (RFC 9113 §3.4) is a request line on purpose, so that HTTP/1 servers answer it.
  if (line === 'PRI * HTTP/2.0') return { method, target, version: '2.0' }
  if (parts.length !== 3 || target === '') {
    return malformed('the request line is not `CONNECT host:port HTTP/1.1`', { method, target })
  }
  if (protocol !== 'HTTP/1.1' && protocol !== 'HTTP/1.0') {
    return malformed('the version is neither HTTP/1.1 nor HTTP/1.0', { method, target })
  }
  return { method, target, version: protocol.slice('HTTP/'.length) }
}

function checkHead(
  line: RequestLine,
  fieldLines: readonly string[],
  forwards: boolean,
): ConnectHead | AbsoluteHead | HeadRefusal {
  const fields: Fields = new Map<string, string[]>()
  for (const fieldLine of fieldLines) {
    const colon = fieldLine.indexOf(':')
    const name = fieldLine.slice(0, colon)
    // A line that starts with white space is obs-fold, and one without a colon is no field; neither is a token.
    if (colon <= 0 || !TOKEN.test(name)) {
      return {
        kind: 'refused',
        code: 'malformed_request',
        detail: 'a line is no `name: value` field',
        ...line,
      }
    }
    const value = fieldLine.slice(colon + 1).replace(/^[ \t]+|[ \t]+$/g, '')
    const key = name.toLowerCase()
    const values = fields.get(key)
    if (values) values.push(value)
    else fields.set(key, [value])
  }
  const userAgent = fields.get('user-agent')?.[0]
  const more = userAgent === undefined ? {} : { userAgent }
  if (line.method !== 'CONNECT') {
    const absolute = forwards && absoluteForm(line, fields, checkHost(fields, line.version))
    if (absolute) return absolute
    return { kind: 'refused', code: 'method_not_allowed', detail: methodHint(line), ...line, ...more }
  }
  const defect = checkHost(fields, line.version) ?? checkBody(fields)
  if (defect !== undefined)
    return { kind: 'refused', code: 'malformed_request', detail: defect, ...line, ...more }
  return {
    kind: 'connect',
    target: line.target,
    version: line.version === '1.0' ? '1.0' : '1.1',
    host: fields.get('host')?.[0],
    userAgent,
    proxyAuthorization: fields.get('proxy-authorization'),
  }
}

/** Field values by name in lower case. */
export type Fields = Map<string, string[]>

function checkHost(fields: Fields, version: string): string | undefined {
  const hosts = fields.get('host')?.length ?? 0
  if (hosts > 1) return 'more than one Host field (RFC 9112 section 3.2)'
  if (hosts === 0 && version === '1.1') return 'no Host field (RFC 9112 section 3.2)'
  return undefined
}

function checkBody(fields: Fields): string | undefined {
  if (fields.has('transfer-encoding')) return 'a Transfer-Encoding field on CONNECT'
  const lengths = fields.get('content-length')
  if (lengths && (lengths.length > 1 || lengths[0] !== '0'))
    return 'a Content-Length field on CONNECT that is not 0'
  return undefined
}

/** What somebody who sends this probably has to change. */
function methodHint({ method, target, version }: RequestLine): string {
  if (version === '2.0') return 'HTTP/2 is not spoken to this proxy; use HTTP/1.1 CONNECT'
  if (/^https:\/\//i.test(target)) {
    return 'use CONNECT: this client sends https:// requests in clear; upgrade axios to 1.16.1 or later'
  }
  if (/^http:\/\//i.test(target)) return 'use CONNECT: ask for https://, plain http:// does not leave here'
  if (method.toUpperCase() === 'CONNECT') return 'methods are case-sensitive: use CONNECT in capitals'
  return 'use CONNECT: this is a proxy, set it as HTTPS_PROXY'
}

/**
 * Whether the Host field names the CONNECT target (RFC 9112 §3.2.2); clients send it with and without the port.
 */
export function hostNamesTarget(field: string, host: string, port: number): boolean {
  const bracketed = host.includes(':') ? `[${host}]` : host
  const named = field.toLowerCase()
  return named === bracketed || named === `${bracketed}:${port}`
}
