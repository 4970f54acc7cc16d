/**
 * The header with which a load balancer says whose connection it passes on: the PROXY protocol, versions 1 and 2
 * (haproxy.org, doc/proxy-protocol.txt). Pure: bytes in, verdict out.
 */
import { canonicalAddress } from '../policy/addresses.ts'
import { isIPv4Literal, isIPv6Literal } from '../policy/authority.ts'

/** `length` bytes of what was pushed are the header; what follows is the client's. */
export type ProxyHeader =
  | { readonly kind: 'incomplete' }
  /** `source` is the client, in canonical text; absent where the balancer speaks for itself, as in a health check. */
  | {
      readonly kind: 'header'
      readonly source?: { readonly address: string; readonly port: number }
      readonly length: number
    }
  | { readonly kind: 'malformed'; readonly detail: string }

const V1 = Buffer.from('PROXY ')
/** Section 2.1: the longest line, its CRLF included. */
const MAX_V1_BYTES = 107
const V2 = Buffer.from([0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a])
const V2_FIXED_BYTES = 16
/** Addresses, and extensions that we pass over; balancers send a few hundred bytes at most. */
const MAX_V2_BYTES = 4096

/** @param bytes all that has come so far */
export function parseProxyHeader(bytes: Buffer): ProxyHeader {
  if (startsLike(bytes, V1)) return bytes.length < V1.length ? { kind: 'incomplete' } : parseV1(bytes)
  if (startsLike(bytes, V2)) return bytes.length < V2_FIXED_BYTES ? { kind: 'incomplete' } : parseV2(bytes)
  return malformed('no PROXY header, and this peer has to send one')
}

function startsLike(bytes: Buffer, signature: Buffer): boolean {
  const length = Math.min(bytes.length, signature.length)
  return bytes.subarray(0, length).equals(signature.subarray(0, length))
}

function parseV1(bytes: Buffer): ProxyHeader {
  const end = bytes.subarray(0, MAX_V1_BYTES).indexOf('\r\n')
  if (end === -1) {
    return bytes.length < MAX_V1_BYTES ? { kind: 'incomplete' } : malformed('a version 1 line over 107 bytes')
  }
  const length = end + 2
  const [, family, source = '', destination = '', ...ports] = bytes.toString('latin1', 0, end).split(' ')
  // Section 2.1: whatever follows UNKNOWN is ignored.
  if (family === 'UNKNOWN') return { kind: 'header', length }
  const isAddress = family === 'TCP4' ? isIPv4Literal : family === 'TCP6' ? isIPv6Literal : undefined
  if (!isAddress) return malformed('a version 1 line that is neither TCP4, TCP6 nor UNKNOWN')
  const [sourcePort, destinationPort] = ports.map(readPort)
  if (
    !isAddress(source) ||
    !isAddress(destination) ||
    ports.length !== 2 ||
    sourcePort === undefined ||
    destinationPort === undefined
  ) {
    return malformed('addresses or ports of the version 1 line cannot be read')
  }
  return headerOf(source, sourcePort, length)
}

/** Section 2.1: 0 to 65535, no leading zeros. */
function readPort(text: string): number | undefined {
  const port = /^(?:0|[1-9][0-9]{0,4})$/.test(text) ? Number(text) : Number.NaN
  return port <= 65_535 ? port : undefined
}

const LOCAL = 0x20
const PROXY = 0x21
const UNSPECIFIED = 0x00
/** By section 2.2's byte for family and protocol: how an address of it is read, and how many bytes both take. */
const FAMILIES = new Map([
  [0x11, { size: 12, addressBytes: 4 }],
  [0x21, { size: 36, addressBytes: 16 }],
])

function parseV2(bytes: Buffer): ProxyHeader {
  const [command, family] = [bytes.readUInt8(12), bytes.readUInt8(13)]
  const length = V2_FIXED_BYTES + bytes.readUInt16BE(14)
  if (command !== LOCAL && command !== PROXY) return malformed('neither LOCAL nor PROXY of version 2')
  if (length > MAX_V2_BYTES) return malformed(`a version 2 header over ${MAX_V2_BYTES} bytes`)
  if (bytes.length < length) return { kind: 'incomplete' }
  if (command === LOCAL || family === UNSPECIFIED) return { kind: 'header', length }
  const shape = FAMILIES.get(family)
  if (!shape) return malformed('a version 2 header for something else than TCP over IPv4 or IPv6')
  if (length < V2_FIXED_BYTES + shape.size) return malformed('a version 2 header that ends early')
  const source = bytes.subarray(V2_FIXED_BYTES, V2_FIXED_BYTES + shape.addressBytes)
  return headerOf(addressText(source), bytes.readUInt16BE(V2_FIXED_BYTES + 2 * shape.addressBytes), length)
}

function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.')
  return Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16)).join(':')
}

function headerOf(address: string, port: number, length: number): ProxyHeader {
  return { kind: 'header', source: { address: canonicalAddress(address) ?? address, port }, length }
}

function malformed(detail: string): ProxyHeader {
  return { kind: 'malformed', detail }
}
