/** `struct sockaddr_in` (ip(7)) and `struct sockaddr_in6` (ipv6(7)). */
import { endianness } from 'node:os'
import ipaddr from 'ipaddr.js'
import { LRUCache } from 'lru-cache'
import type { Endpoint } from '../types.ts'
import { AF_INET, AF_INET6 } from './libc.ts'

export const MAX_SOCKADDR_BYTES = 28
const IPV4_BYTES = 16
const LITTLE = endianness() === 'LE'

export interface SocketAddress {
  readonly family: typeof AF_INET | typeof AF_INET6
  readonly bytes: Buffer
}

/** Encodes an IP literal and a port to bind or connect to; the bytes must not be written to. Throws on anything else. */
export type EncodeAddress = (address: string, port: number) => SocketAddress

/** Keeps the addresses encoded lately: the same few hosts are dialled all day. */
export function createAddressEncoder(): EncodeAddress {
  const encoded = new LRUCache<string, SocketAddress>({ max: 256 })
  return (address, port) => {
    const key = `${address} ${port}`
    const known = encoded.get(key)
    if (known) return known
    const made = encodeAddress(address, port)
    encoded.set(key, made)
    return made
  }
}

export function encodeAddress(address: string, port: number): SocketAddress {
  const six = address.includes(':')
  const bytes = Buffer.alloc(six ? MAX_SOCKADDR_BYTES : IPV4_BYTES)
  const family = six ? AF_INET6 : AF_INET
  if (LITTLE) bytes.writeUInt16LE(family, 0)
  else bytes.writeUInt16BE(family, 0)
  bytes.writeUInt16BE(port, 2)
  bytes.set(ipaddr.parse(address).toByteArray(), six ? 8 : 4)
  return { family, bytes }
}

/** What the kernel wrote; IPv4-mapped IPv6 addresses are unwrapped. */
export function decodeAddress(bytes: Buffer): Endpoint {
  const family = LITTLE ? bytes.readUInt16LE(0) : bytes.readUInt16BE(0)
  const port = bytes.readUInt16BE(2)
  if (family === AF_INET) return { address: `${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`, port }
  const six = ipaddr.fromByteArray([...bytes.subarray(8, 24)])
  return { address: ipaddr.process(six.toString()).toString(), port }
}
