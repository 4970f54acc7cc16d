/**
 * Which IP addresses may be dialled: globally reachable unicast, and nothing else. The guard looks at the
 * address, never at the name, and every answer of a host must pass (a mixed answer is a refusal), so that a
 * name cannot be pointed at the inside.
 *
 * Sources: the IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and updates); for IPv6 the rule is
 * inverted, since only 2000::/3 is assigned for global unicast: what embeds or scopes another address
 * (v4-mapped, NAT64, unique local, link local) falls out by itself.
 */
import ipaddr from 'ipaddr.js'
import { isIPv4Literal, isIPv6Literal } from './authority.ts'

export type AddressVerdict =
  | { readonly kind: 'public' }
  /** Prohibited by the registries, but inside a block of `addresses.allow`. */
  | { readonly kind: 'excepted'; readonly block: string }
  | { readonly kind: 'prohibited'; readonly block: string; readonly name: string }

/** A parsed CIDR block; made by {@link parseBlock}. */
export interface AddressBlock {
  readonly text: string
  readonly address: ipaddr.IPv4 | ipaddr.IPv6
  readonly prefixLength: number
}

type NamedBlock = AddressBlock & { readonly name: string }

const PROHIBITED_IPV4: readonly NamedBlock[] = table([
  ['0.0.0.0/8', 'this network'],
  ['10.0.0.0/8', 'private use'],
  ['100.64.0.0/10', 'shared address space (CGNAT)'],
  ['127.0.0.0/8', 'loopback'],
  ['169.254.0.0/16', 'link local, cloud metadata'],
  ['172.16.0.0/12', 'private use'],
  ['192.0.0.0/24', 'IETF protocol assignments'],
  ['192.0.2.0/24', 'documentation'],
  ['192.31.196.0/24', 'AS112'],
  ['192.52.193.0/24', 'AMT'],
  ['192.88.99.0/24', '6to4 relay anycast'],
  ['192.168.0.0/16', 'private use'],
  ['192.175.48.0/24', 'AS112'],
  ['198.18.0.0/15', 'benchmarking'],
  ['198.51.100.0/24', 'documentation'],
  ['203.0.113.0/24', 'documentation'],
  ['224.0.0.0/4', 'multicast'],
  ['240.0.0.0/4', 'reserved'],
  // Not in the registry: Azure's WireServer answers its virtual machines from a public address.
  ['168.63.129.16/32', 'cloud metadata'],
])

/** Blocks with a meaning of their own, looked up first so that the refusal can name them. */
const PROHIBITED_IPV6: readonly NamedBlock[] = table([
  ['::/128', 'unspecified'],
  ['::1/128', 'loopback'],
  ['::ffff:0:0/96', 'IPv4-mapped'],
  ['::/96', 'IPv4-compatible'],
  ['64:ff9b::/96', 'NAT64'],
  ['64:ff9b:1::/48', 'NAT64, local use'],
  ['100::/64', 'discard only'],
  ['2001::/32', 'Teredo'],
  ['2001::/23', 'IETF protocol assignments'],
  ['2001:db8::/32', 'documentation'],
  ['2002::/16', '6to4'],
  ['3fff::/20', 'documentation'],
  ['5f00::/16', 'segment routing'],
  ['fc00::/7', 'unique local'],
  ['fe80::/10', 'link local'],
  ['ff00::/8', 'multicast'],
])

const GLOBAL_UNICAST_IPV6 = block('2000::/3')
const IPV6_OUTSIDE_GLOBAL_UNICAST: readonly AddressBlock[] =
  '::/96 64:ff9b::/96 64:ff9b:1::/48 100::/8 200::/7 400::/6 800::/5 1000::/4 4000::/2 8000::/1'
    .split(' ')
    .map(block)

/**
 * What may never be dialled, for other systems that have to be told in blocks; none lies in another. Outside 2000::/3
 * that is all of IPv6 but what nobody has in ::/8, and there the v4-mapped block, which many of them take for IPv4 itself.
 *
 * @param allow blocks of `addresses.allow`, taken out of them. A list of exceptions beside the blocks would not do where
 * a system asks whether any address of an answer is in a list: one excepted address would then let a mixed answer pass.
 */
export function prohibitedBlocks(allow: readonly string[] = []): {
  readonly ipv4: readonly string[]
  /** Inside 2000::/3. */
  readonly ipv6: readonly string[]
  /** Outside 2000::/3. */
  readonly ipv6Outside: readonly string[]
} {
  const inside = PROHIBITED_IPV6.filter((entry) => contains(GLOBAL_UNICAST_IPV6, entry.address))
  const widest = inside.filter(
    ({ prefixLength, address }) =>
      !inside.some((other) => other.prefixLength < prefixLength && contains(other, address)),
  )
  const holes = allow.map(block)
  const rest = (blocks: readonly AddressBlock[]): readonly string[] =>
    blocks.flatMap((whole) => subtract(whole, holes).map(({ text }) => text))
  return {
    ipv4: rest(PROHIBITED_IPV4),
    ipv6: rest(widest),
    ipv6Outside: rest(IPV6_OUTSIDE_GLOBAL_UNICAST),
  }
}

/** What is left of a block, in as few blocks as that takes. */
function subtract(whole: AddressBlock, holes: readonly AddressBlock[]): readonly AddressBlock[] {
  const inside = holes.filter((hole) => contains(whole, hole.address) || contains(hole, whole.address))
  if (inside.length === 0) return [whole]
  if (inside.some((hole) => hole.prefixLength <= whole.prefixLength)) return []
  return halves(whole).flatMap((half) => subtract(half, inside))
}

function halves({ address, prefixLength }: AddressBlock): readonly [AddressBlock, AddressBlock] {
  const half = (bytes: number[]): AddressBlock =>
    block(`${ipaddr.fromByteArray(bytes).toString()}/${prefixLength + 1}`)
  const lower = address.toByteArray()
  const upper = lower.with(prefixLength >> 3, (lower[prefixLength >> 3] ?? 0) | (0x80 >> (prefixLength & 7)))
  return [half(lower), half(upper)]
}

/**
 * Classifies one address.
 *
 * @param address IPv4 or IPv6 literal; anything that is not one is prohibited
 * @param allow blocks of `addresses.allow`, the only way around the registries
 * @param own this host's own addresses (canonical text); an exception must cover them too
 */
export function classifyAddress(
  address: string,
  allow: readonly AddressBlock[] = [],
  own: ReadonlySet<string> = new Set(),
): AddressVerdict {
  // A zone id never comes out of DNS; accepting one would let its text hide the address from the tables.
  // ipaddr.js also reads inet_aton's forms (0177.1, 134744072), which are no literals.
  if (!isIPv4Literal(address) && !isIPv6Literal(address)) {
    return { kind: 'prohibited', block: 'unreadable', name: 'not an IP address' }
  }
  const parsed = ipaddr.parse(address)
  const exception = allow.find((candidate) => contains(candidate, parsed))
  const refused = prohibitedBlock(parsed)
  if (refused)
    return exception ? { kind: 'excepted', block: exception.text } : { kind: 'prohibited', ...refused }
  if (own.has(parsed.toString())) {
    const self = { block: parsed.toString(), name: "this host's own address" }
    return exception ? { kind: 'excepted', block: exception.text } : { kind: 'prohibited', ...self }
  }
  return { kind: 'public' }
}

/** The canonical text of an address, for comparing, v4-mapped ones unwrapped; `undefined` when it is not one. */
export function canonicalAddress(address: string): string | undefined {
  const bare = address.split('%')[0] ?? ''
  return ipaddr.isValid(bare) ? ipaddr.process(bare).toString() : undefined
}

/** Reads `10.0.0.0/8`, `fd00::/8` or a single address; `undefined` when it is neither, or has host bits set. */
export function parseBlock(text: string): AddressBlock | undefined {
  const [host = '', length, extra] = text.split('/')
  if (extra !== undefined || (length !== undefined && !/^(?:0|[1-9][0-9]{0,2})$/.test(length)))
    return undefined
  const four = ipaddr.IPv4.isValidFourPartDecimal(host)
  if (!four && (!ipaddr.IPv6.isValid(host) || host.includes('%'))) return undefined
  const address = four ? ipaddr.IPv4.parse(host) : ipaddr.IPv6.parse(host)
  const bits = four ? 32 : 128
  const prefixLength = length === undefined ? bits : Number(length)
  if (prefixLength > bits) return undefined
  const network = four
    ? ipaddr.IPv4.networkAddressFromCIDR(`${host}/${prefixLength}`)
    : ipaddr.IPv6.networkAddressFromCIDR(`${host}/${prefixLength}`)
  if (network.toString() !== address.toString()) return undefined
  return { text, address, prefixLength }
}

/** Whether an address literal lies in one of the blocks; a v4-mapped IPv6 client counts as its IPv4 self. */
export function inBlocks(address: string, blocks: readonly AddressBlock[]): boolean {
  const bare = address.split('%')[0] ?? ''
  if (!ipaddr.isValid(bare)) return false
  const parsed = ipaddr.process(bare)
  return blocks.some((candidate) => contains(candidate, parsed))
}

function prohibitedBlock(address: ipaddr.IPv4 | ipaddr.IPv6): { block: string; name: string } | undefined {
  const named = (address.kind() === 'ipv4' ? PROHIBITED_IPV4 : PROHIBITED_IPV6).find((entry) =>
    contains(entry, address),
  )
  if (named) return { block: named.text, name: named.name }
  if (address.kind() === 'ipv6' && !contains(GLOBAL_UNICAST_IPV6, address)) {
    return { block: '::/0 without 2000::/3', name: 'not global unicast' }
  }
  return undefined
}

function contains(candidate: AddressBlock, address: ipaddr.IPv4 | ipaddr.IPv6): boolean {
  return (
    candidate.address.kind() === address.kind() && address.match(candidate.address, candidate.prefixLength)
  )
}

function block(text: string): AddressBlock {
  const parsed = parseBlock(text)
  if (!parsed) throw new TypeError(`not a CIDR block: ${text}`)
  return parsed
}

function table(rows: readonly (readonly [string, string])[]): readonly NamedBlock[] {
  return rows.map(([text, name]) => ({ ...block(text), name }))
}
