/** ClientHello messages byte by byte, with a note of where every length stands. */

/** A field that says how long what follows it is. */
export interface LengthField {
  readonly name: string
  readonly offset: number
  readonly width: 1 | 2 | 3
}

export interface BuiltHello {
  /** The handshake message, header included. */
  readonly message: Buffer
  /** Offsets are into `message`. */
  readonly lengths: readonly LengthField[]
}

export interface HelloParts {
  readonly version?: number
  readonly sessionId?: Buffer
  readonly suites?: Buffer
  readonly compression?: Buffer
  /** `null`: no extension block at all, as in SSL 3.0. */
  readonly extensions?: readonly Extension[] | null
}

export interface Extension {
  readonly type: number
  readonly data: Piece
}

/** Bytes with the length fields inside them. */
export interface Piece {
  readonly bytes: Buffer
  readonly lengths: readonly LengthField[]
}

export function raw(...bytes: readonly (Buffer | number)[]): Piece {
  return {
    bytes: Buffer.concat(bytes.map((one) => (Buffer.isBuffer(one) ? one : Buffer.from([one])))),
    lengths: [],
  }
}

export function join(...pieces: readonly Piece[]): Piece {
  let offset = 0
  const lengths = pieces.flatMap((piece) => {
    const moved = piece.lengths.map((field) => ({ ...field, offset: field.offset + offset }))
    offset += piece.bytes.length
    return moved
  })
  return { bytes: Buffer.concat(pieces.map(({ bytes }) => bytes)), lengths }
}

/** The piece with its length in front. */
export function vector(name: string, width: 1 | 2 | 3, piece: Piece): Piece {
  const head = Buffer.alloc(width)
  head.writeUIntBE(piece.bytes.length, 0, width)
  return join({ bytes: head, lengths: [{ name, offset: 0, width }] }, piece)
}

export function uint16(value: number): Piece {
  return raw(value >> 8, value & 0xff)
}

/** server_name with any entries; `type` 0 is host_name. */
export function serverName(
  ...entries: readonly (string | Buffer | { type: number; name: string })[]
): Extension {
  const list = entries.map((entry) => {
    const named = typeof entry === 'object' && 'type' in entry
    const name = named
      ? Buffer.from(entry.name)
      : Buffer.isBuffer(entry)
        ? entry
        : Buffer.from(entry, 'latin1')
    return join(raw(named ? entry.type : 0), vector('server name', 2, raw(name)))
  })
  return { type: 0, data: vector('server name list', 2, join(...list)) }
}

export function alpn(...protocols: readonly string[]): Extension {
  const list = protocols.map((name) => vector('protocol name', 1, raw(Buffer.from(name, 'latin1'))))
  return { type: 16, data: vector('protocol list', 2, join(...list)) }
}

export function supportedVersions(...versions: readonly number[]): Extension {
  return { type: 43, data: vector('versions', 1, join(...versions.map(uint16))) }
}

export function padding(bytes: number): Extension {
  return { type: 21, data: raw(Buffer.alloc(bytes)) }
}

export function buildHello(parts: HelloParts = {}): BuiltHello {
  const extensions = (
    parts.extensions === undefined ? [serverName('cgr.dev')] : (parts.extensions ?? [])
  ).map(({ type, data }) => join(uint16(type), vector(`extension ${type}`, 2, data)))
  const body = join(
    uint16(parts.version ?? 0x0303),
    raw(Buffer.alloc(32, 7)),
    vector('session id', 1, raw(parts.sessionId ?? Buffer.alloc(32, 9))),
    vector('cipher suites', 2, raw(parts.suites ?? Buffer.from([0x13, 0x01, 0x13, 0x02]))),
    vector('compression methods', 1, raw(parts.compression ?? Buffer.from([0]))),
    ...(parts.extensions === null ? [] : [vector('extensions', 2, join(...extensions))]),
  )
  const { bytes, lengths } = join(raw(1), vector('handshake message', 3, body))
  return { message: bytes, lengths }
}

/** Handshake bytes in records of at most `size` bytes. */
export function inRecords(message: Buffer, size = 16_384): Buffer {
  const records: Buffer[] = []
  for (let at = 0; at < message.length; at += size) {
    const payload = message.subarray(at, at + size)
    records.push(Buffer.from([22, 3, 1, payload.length >> 8, payload.length & 0xff]), payload)
  }
  return Buffer.concat(records)
}

export function helloRecord(parts: HelloParts = {}): Buffer {
  return inRecords(buildHello(parts).message)
}
