/**
 * Reads the ClientHello (RFC 8446 §4.1.2) that opens a TLS connection, however it is cut into segments and records,
 * for its server name (RFC 6066 §3). Pure and incremental: bytes in, verdict out; nothing is decrypted, and the
 * bytes go upstream as they came. An encrypted ClientHello (RFC 9849) shows its outer name, which is what is judged.
 */
import { parseHostname, type Hostname } from '../policy/hostname.ts'

/** Bytes on the wire, record headers included, within which a ClientHello must end. */
export const MAX_HELLO_BYTES = 16 * 1024

export interface ClientHello {
  readonly kind: 'hello'
  /** `undefined`: no server_name extension. */
  readonly serverName: Hostname | undefined
  /** Application protocols offered (RFC 7301), at most 8. */
  readonly alpn: readonly string[]
  /** TLS versions offered, newest names for known numbers, such as `1.3`. */
  readonly versions: readonly string[]
}

export interface HelloRefusal {
  readonly kind: 'refused'
  readonly code: 'sni_malformed' | 'not_tls' | 'hello_too_large'
  readonly detail: string
}

export type HelloResult = { readonly kind: 'incomplete' } | ClientHello | HelloRefusal

const HANDSHAKE_RECORD = 22
const CLIENT_HELLO = 1
const MAX_RECORD_BYTES = 16 * 1024
const RECORD_HEADER_BYTES = 5
const MESSAGE_HEADER_BYTES = 4

/** Gathers handshake bytes out of records until one whole ClientHello is there. */
export class ClientHelloParser {
  #wire: Buffer = Buffer.alloc(0)
  /** Start of the first record that is not taken yet. */
  #offset = 0
  #message: Buffer = Buffer.alloc(0)

  /** Everything pushed so far: what has to go upstream after the verdict. */
  get bytes(): Buffer {
    return this.#wire
  }

  push(chunk: Buffer): HelloResult {
    this.#wire = this.#wire.length === 0 ? chunk : Buffer.concat([this.#wire, chunk])
    for (;;) {
      const verdict = this.#checkMessageHeader() ?? this.#takeMessage() ?? this.#takeRecord()
      if (verdict) return verdict
    }
  }

  /** Takes the next record's payload; a verdict when there is none, or when it cannot be one. */
  #takeRecord(): HelloResult | undefined {
    const wire = this.#wire
    const at = this.#offset
    const here = wire.length - at
    if (here >= 1 && wire[at] !== HANDSHAKE_RECORD) return refuse('not_tls', 'no handshake record')
    if (here >= 2 && wire[at + 1] !== 3) return refuse('not_tls', 'no TLS version in the record header')
    if (here >= RECORD_HEADER_BYTES) {
      const length = wire.readUInt16BE(at + 3)
      if (length === 0 || length > MAX_RECORD_BYTES) return refuse('not_tls', `a record of ${length} bytes`)
      const end = at + RECORD_HEADER_BYTES + length
      if (end > MAX_HELLO_BYTES) return refuse('hello_too_large', `over ${MAX_HELLO_BYTES} bytes`)
      if (wire.length >= end) {
        const payload = wire.subarray(at + RECORD_HEADER_BYTES, end)
        this.#message = this.#message.length === 0 ? payload : Buffer.concat([this.#message, payload])
        this.#offset = end
        return undefined
      }
    }
    return { kind: 'incomplete' }
  }

  #checkMessageHeader(): HelloRefusal | undefined {
    const message = this.#message
    if (message.length >= 1 && message[0] !== CLIENT_HELLO) return refuse('not_tls', 'no ClientHello')
    if (message.length >= MESSAGE_HEADER_BYTES && message.readUIntBE(1, 3) > MAX_HELLO_BYTES) {
      return refuse('hello_too_large', `over ${MAX_HELLO_BYTES} bytes`)
    }
    return undefined
  }

  #takeMessage(): HelloResult | undefined {
    const message = this.#message
    if (message.length < MESSAGE_HEADER_BYTES) return undefined
    const end = MESSAGE_HEADER_BYTES + message.readUIntBE(1, 3)
    if (message.length < end) return undefined
    // No client does that, and a second ClientHello there would go unseen.
    if (message.length > end)
      return refuse('sni_malformed', 'something follows in the record of the ClientHello')
    return parseClientHello(message.subarray(MESSAGE_HEADER_BYTES, end))
  }
}

const SERVER_NAME = 0
const ALPN = 16
const SUPPORTED_VERSIONS = 43

/** Parses the body of a ClientHello message. */
export function parseClientHello(body: Buffer): ClientHello | HelloRefusal {
  const reader = new Reader(body)
  const legacyVersion = reader.uint(2)
  reader.skip(32) // random
  const sessionId = reader.skip(reader.uint(1))
  const suites = reader.skip(reader.uint(2))
  const compression = reader.skip(reader.uint(1))
  if (!reader.ok || sessionId > 32 || suites < 2 || suites % 2 !== 0 || compression < 1) {
    return refuse('sni_malformed', 'the ClientHello ends early')
  }
  const found: Found = { alpn: [], versions: [versionName(legacyVersion)] }
  if (reader.left === 0) return { kind: 'hello', serverName: undefined, alpn: [], versions: found.versions }

  const length = reader.uint(2)
  if (!reader.ok || length !== reader.left) {
    return refuse('sni_malformed', 'lengths in the ClientHello do not add up')
  }
  while (reader.left > 0) {
    const type = reader.uint(2)
    const end = reader.endOf(reader.uint(2))
    if (!reader.ok) return refuse('sni_malformed', 'an extension ends early')
    const defect = readExtension(type, reader, end, found)
    if (defect !== undefined) return refuse('sni_malformed', defect)
    reader.jump(end)
  }
  return { kind: 'hello', serverName: found.serverName, alpn: found.alpn, versions: found.versions }
}

interface Found {
  serverName?: Hostname
  alpn: readonly string[]
  versions: readonly string[]
}

/** Reads the extension that ends at `end`; says what is wrong with a server name. */
function readExtension(type: number, reader: Reader, end: number, found: Found): string | undefined {
  if (type === SERVER_NAME) {
    if (found.serverName !== undefined) return 'two server_name extensions'
    const name = readServerName(reader, end)
    if ('defect' in name) return name.defect
    found.serverName = name.hostname
  } else if (type === ALPN) {
    const list = reader.until(end)
    list.skip(2)
    const names: string[] = []
    while (list.left > 0 && names.length < MAX_LISTED) {
      const name = list.text(list.uint(1))
      if (list.ok) names.push(name)
    }
    found.alpn = names
  } else if (type === SUPPORTED_VERSIONS) {
    const list = reader.until(end)
    list.skip(1)
    const names: string[] = []
    while (list.left > 1 && names.length < MAX_LISTED) {
      const name = versionName(list.uint(2))
      if (name !== GREASE) names.push(name)
    }
    found.versions = names
  }
  return undefined
}

/** Entries of an offer that a record lists. */
const MAX_LISTED = 8

function readServerName(reader: Reader, end: number): { hostname: Hostname } | { defect: string } {
  const listEnd = reader.endOf(reader.uint(2))
  const type = reader.uint(1)
  const length = reader.uint(2)
  const nameEnd = reader.endOf(length)
  if (!reader.ok || listEnd !== end || nameEnd > end)
    return { defect: 'lengths in server_name do not add up' }
  if (nameEnd < end) return { defect: 'more than one server name' }
  if (type !== 0) return { defect: 'a server name that is no host_name' }
  const hostname = parseHostname(reader.text(length))
  return hostname.ok
    ? { hostname: hostname.hostname }
    : { defect: `the server name is no hostname: ${hostname.defect}` }
}

const GREASE = 'grease'
const VERSIONS = new Map([
  [0x0300, 'ssl3.0'],
  [0x0301, '1.0'],
  [0x0302, '1.1'],
  [0x0303, '1.2'],
  [0x0304, '1.3'],
])

function versionName(number: number): string {
  // RFC 8701: 0x0a0a, 0x1a1a, … are noise on purpose.
  if ((number & 0x0f0f) === 0x0a0a) return GREASE
  return VERSIONS.get(number) ?? `0x${number.toString(16).padStart(4, '0')}`
}

/** Reads big-endian fields in place; past the end it reads nothing and `ok` turns false. */
class Reader {
  ok = true
  at = 0
  readonly #bytes: Buffer

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get left(): number {
    return this.ok ? this.#bytes.length - this.at : 0
  }

  /** A reader of its own for the bytes up to `end`: lengths that lie in there end nothing out here. */
  until(end: number): Reader {
    return new Reader(this.#bytes.subarray(this.at, end))
  }

  uint(width: 1 | 2): number {
    const from = this.at
    if (this.skip(width) !== width || !this.ok) return 0
    return width === 1 ? this.#bytes.readUInt8(from) : this.#bytes.readUInt16BE(from)
  }

  /** Passes over `length` bytes, and gives the length back. */
  skip(length: number): number {
    this.jump(this.endOf(length))
    return length
  }

  /** Where `length` bytes from here end; not `ok` when that is past the end. */
  endOf(length: number): number {
    const end = this.at + length
    if (end > this.#bytes.length) this.ok = false
    return end
  }

  jump(to: number): void {
    if (this.ok) this.at = to
  }

  /** The next `length` bytes, one character for each. */
  text(length: number): string {
    const from = this.at
    this.skip(length)
    return this.ok ? this.#bytes.toString('latin1', from, from + length) : ''
  }
}

function refuse(code: HelloRefusal['code'], detail: string): HelloRefusal {
  return { kind: 'refused', code, detail }
}
