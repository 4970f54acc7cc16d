import { BlockList } from 'node:net'
import fc from 'fast-check'
import ipaddr from 'ipaddr.js'
import { describe, expect, test } from 'vitest'
import {
  canonicalAddress,
  classifyAddress,
  inBlocks,
  parseBlock,
  prohibitedBlocks,
  type AddressBlock,
} from '../../src/policy/addresses.ts'

function blocks(...texts: readonly string[]): readonly AddressBlock[] {
  return texts.map((text) => {
    const block = parseBlock(text)
    if (!block) throw new TypeError(`no block: ${text}`)
    return block
  })
}

/** Block, first and last address; then the nearest public addresses before and behind it, where there are any. */
type Row = readonly [block: string, first: string, last: string, before?: string | undefined, behind?: string]
const IPV4: readonly Row[] = [
  ['0.0.0.0/8', '0.0.0.0', '0.255.255.255', undefined, '1.0.0.0'],
  ['10.0.0.0/8', '10.0.0.0', '10.255.255.255', '9.255.255.255', '11.0.0.0'],
  ['100.64.0.0/10', '100.64.0.0', '100.127.255.255', '100.63.255.255', '100.128.0.0'],
  ['127.0.0.0/8', '127.0.0.0', '127.255.255.255', '126.255.255.255', '128.0.0.0'],
  ['169.254.0.0/16', '169.254.0.0', '169.254.255.255', '169.253.255.255', '169.255.0.0'],
  ['172.16.0.0/12', '172.16.0.0', '172.31.255.255', '172.15.255.255', '172.32.0.0'],
  ['192.0.0.0/24', '192.0.0.0', '192.0.0.255', '191.255.255.255', '192.0.1.0'],
  ['192.0.2.0/24', '192.0.2.0', '192.0.2.255', '192.0.1.255', '192.0.3.0'],
  ['192.31.196.0/24', '192.31.196.0', '192.31.196.255', '192.31.195.255', '192.31.197.0'],
  ['192.52.193.0/24', '192.52.193.0', '192.52.193.255', '192.52.192.255', '192.52.194.0'],
  ['192.88.99.0/24', '192.88.99.0', '192.88.99.255', '192.88.98.255', '192.88.100.0'],
  ['192.168.0.0/16', '192.168.0.0', '192.168.255.255', '192.167.255.255', '192.169.0.0'],
  ['192.175.48.0/24', '192.175.48.0', '192.175.48.255', '192.175.47.255', '192.175.49.0'],
  ['198.18.0.0/15', '198.18.0.0', '198.19.255.255', '198.17.255.255', '198.20.0.0'],
  ['198.51.100.0/24', '198.51.100.0', '198.51.100.255', '198.51.99.255', '198.51.101.0'],
  ['203.0.113.0/24', '203.0.113.0', '203.0.113.255', '203.0.112.255', '203.0.114.0'],
  ['224.0.0.0/4', '224.0.0.0', '239.255.255.255', '223.255.255.255'],
  ['240.0.0.0/4', '240.0.0.0', '255.255.255.255'],
  ['168.63.129.16/32', '168.63.129.16', '168.63.129.16', '168.63.129.15', '168.63.129.17'],
]

const ONES = 'ffff:ffff:ffff:ffff:ffff'
const IPV6: readonly Row[] = [
  ['::/128', '::', '0:0:0:0:0:0:0:0'],
  ['::1/128', '::1', '0:0:0:0:0:0:0:1'],
  ['::ffff:0:0/96', '::ffff:0.0.0.0', '::ffff:255.255.255.255'],
  ['::/96', '::2', '::ffff:ffff'],
  ['64:ff9b::/96', '64:ff9b::', '64:ff9b::255.255.255.255'],
  ['64:ff9b:1::/48', '64:ff9b:1::', `64:ff9b:1:${ONES}`],
  ['100::/64', '100::', '100::ffff:ffff:ffff:ffff'],
  ['2001::/32', '2001::', `2001:0:ffff:${ONES}`, `2000:ffff:ffff:${ONES}`],
  ['2001::/23', '2001:1::', `2001:1ff:ffff:${ONES}`, undefined, '2001:200::'],
  ['2001:db8::/32', '2001:db8::', `2001:db8:ffff:${ONES}`, `2001:db7:ffff:${ONES}`, '2001:db9::'],
  ['2002::/16', '2002::', `2002:ffff:ffff:${ONES}`, `2001:ffff:ffff:${ONES}`, '2003::'],
  ['3fff::/20', '3fff::', `3fff:fff:ffff:${ONES}`, `3ffe:ffff:ffff:${ONES}`, '3fff:1000::'],
  ['5f00::/16', '5f00::', `5f00:ffff:ffff:${ONES}`],
  ['fc00::/7', 'fc00::', `fdff:ffff:ffff:${ONES}`],
  ['fe80::/10', 'fe80::', `febf:ffff:ffff:${ONES}`],
  ['ff00::/8', 'ff00::', `ffff:ffff:ffff:${ONES}`],
]

describe('the registries', () => {
  const registered = [...IPV4, ...IPV6].map(([block, first, last, before, behind]) => ({
    block,
    inside: [first, last],
    outside: [before, behind].flatMap((address) => address ?? []),
  }))
  test.each(registered)('$block: first, last, and just outside', ({ block, inside, outside }) => {
    expect(inside.map((address) => classifyAddress(address))).toMatchObject(
      inside.map(() => ({ kind: 'prohibited', block })),
    )
    expect(outside.map((address) => [address, classifyAddress(address).kind])).toEqual(
      outside.map((address) => [address, 'public']),
    )
  })

  test.each([
    ['the first of global unicast', '2000::', 'public'],
    ['the last of global unicast', `3fff:ffff:ffff:${ONES}`, 'public'],
    ['just before it', `1fff:ffff:ffff:${ONES}`, 'prohibited'],
    ['just behind it', '4000::', 'prohibited'],
    ['site local, as it was', 'fec0::1', 'prohibited'],
    ['just before unique local', `fbff:ffff:ffff:${ONES}`, 'prohibited'],
    ['neighbours of NAT64', '64:ff9b:2::1', 'prohibited'],
    ['behind the discard prefix', '100:0:0:1::1', 'prohibited'],
    ['a public resolver', '8.8.8.8', 'public'],
    ['a public resolver over IPv6', '2001:4860:4860::8888', 'public'],
    ['the same in full and upper case', '2001:4860:4860:0000:0000:0000:0000:8888', 'public'],
  ])('%s: %s', (_what, address, kind) => {
    expect(classifyAddress(address).kind).toBe(kind)
  })

  test('every IPv4 address is judged as the list of blocks says', () => {
    const reference = new BlockList()
    for (const [block] of IPV4) {
      const [network = '', length] = block.split('/')
      reference.addSubnet(network, Number(length), 'ipv4')
    }
    const edges = IPV4.flatMap(([, first, last]) => [first, last])
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.constantFrom(...edges)), (address) => {
        expect(classifyAddress(address).kind).toBe(reference.check(address, 'ipv4') ? 'prohibited' : 'public')
      }),
      { numRuns: 2000 },
    )
  })

  test('every IPv6 address is judged as the list of blocks says', () => {
    const prohibited = new BlockList()
    for (const [block] of IPV6) {
      const [network = '', length] = block.split('/')
      prohibited.addSubnet(network, Number(length), 'ipv6')
    }
    const unicast = new BlockList()
    unicast.addSubnet('2000::', 3, 'ipv6')
    const near = fc
      .tuple(fc.constantFrom('2001:', '2002:', '3fff:', '2001:db8:', '2606:', 'fd00:'), fc.nat(0xffff))
      .map(([prefix, group]) => `${prefix}${group.toString(16)}::1`)
    fc.assert(
      fc.property(fc.oneof(fc.ipV6(), near), (address) => {
        const allowed = unicast.check(address, 'ipv6') && !prohibited.check(address, 'ipv6')
        expect(classifyAddress(address).kind).toBe(allowed ? 'public' : 'prohibited')
      }),
      { numRuns: 2000 },
    )
  })
})

describe('an inside address in disguise is prohibited', () => {
  test.each([
    ['v4-mapped loopback', '::ffff:127.0.0.1'],
    ['v4-mapped in hexadecimal', '::ffff:7f00:1'],
    ['v4-mapped private', '::ffff:10.0.0.1'],
    ['v4-mapped metadata', '::ffff:a9fe:a9fe'],
    ['v4-mapped, even of a public address', '::ffff:8.8.8.8'],
    ['v4-mapped in full', '0:0:0:0:0:ffff:7f00:1'],
    ['v4-compatible', '::7f00:1'],
    ['v4-compatible, dotted', '::127.0.0.1'],
    ['v4-translated', '::ffff:0:127.0.0.1'],
    ['NAT64 of metadata', '64:ff9b::a9fe:a9fe'],
    ['NAT64 of a public address', '64:ff9b::808:808'],
    ['NAT64 with a local prefix', '64:ff9b:1::a9fe:a9fe'],
    ['6to4 of loopback', '2002:7f00:1::1'],
    ['Teredo', '2001:0:4136:e378:8000:63bf:3fff:fdd2'],
    ['benchmarking over IPv6', '2001:2::1'],
    ['ORCHIDv2', '2001:20::1'],
    ['metadata over IPv6', 'fd00:ec2::254'],
    ['link local', 'fe80::1'],
    ['a zone id', 'fe80::1%eth0'],
    ['a zone id on a public address', '2606:4700::1%eth0'],
    ['all routers', 'ff02::2'],
    ['upper case', 'FE80::1'],
    ['cloud metadata', '169.254.169.254'],
    ['metadata of another cloud', '100.100.100.200'],
    ['limited broadcast', '255.255.255.255'],
  ])('%s: %s', (_what, address) => {
    expect(classifyAddress(address).kind).toBe('prohibited')
  })

  test.each([
    ['nothing', ''],
    ['a name', 'cgr.dev'],
    ['a name that starts like an address', '8.8.8.8.nip.io'],
    ['a port', '8.8.8.8:443'],
    ['brackets', '[2606:4700:4700::1111]'],
    ['spaces', ' 8.8.8.8'],
    ['a line break', '8.8.8.8\n'],
    ['a block', '8.8.8.0/24'],
    ['three parts', '127.1'],
    ['a number', '2130706433'],
    ['octal', '0177.0.0.1'],
    ['hexadecimal', '0x7f.0.0.1'],
    ['a number that is public', '134744072'],
    ['three parts that are public', '8.8.2056'],
    ['octal that is public', '010.8.8.8'],
    ['hexadecimal that is public', '0x8.8.8.8'],
    ['too many groups', '1:2:3:4:5:6:7:8:9'],
    ['two gaps', '2606::4700::1'],
  ])('what is no address literal is prohibited: %s, %j', (_what, address) => {
    expect(classifyAddress(address).kind).toBe('prohibited')
  })
})

describe('exceptions of `addresses.allow`', () => {
  test.each([
    ['inside the block', '10.1.2.3', ['10.1.2.0/24'], { kind: 'excepted', block: '10.1.2.0/24' }],
    ['its first address', '10.1.2.0', ['10.1.2.0/24'], { kind: 'excepted', block: '10.1.2.0/24' }],
    ['its last address', '10.1.2.255', ['10.1.2.0/24'], { kind: 'excepted', block: '10.1.2.0/24' }],
    ['just behind it', '10.1.3.0', ['10.1.2.0/24'], { kind: 'prohibited' }],
    ['just before it', '10.1.1.255', ['10.1.2.0/24'], { kind: 'prohibited' }],
    ['a single address', '10.1.2.3', ['10.1.2.3'], { kind: 'excepted', block: '10.1.2.3' }],
    ['the second block', 'fd00::5', ['10.0.0.0/8', 'fd00::/8'], { kind: 'excepted', block: 'fd00::/8' }],
    ['another family', 'fd00::5', ['0.0.0.0/0'], { kind: 'prohibited' }],
    ['the mapped form of an excepted address', '::ffff:10.1.2.3', ['10.0.0.0/8'], { kind: 'prohibited' }],
    ['the compatible form of one', '::10.1.2.3', ['10.0.0.0/8'], { kind: 'prohibited' }],
    ['the NAT64 form of one', '64:ff9b::10.1.2.3', ['10.0.0.0/8'], { kind: 'prohibited' }],
    ['a public address in no need of one', '8.8.8.8', ['8.0.0.0/8'], { kind: 'public' }],
    ['something unreadable', 'cgr.dev', ['0.0.0.0/0', '::/0'], { kind: 'prohibited' }],
  ])('%s: %s', (_what, address, allow, verdict) => {
    expect(classifyAddress(address, blocks(...allow))).toMatchObject(verdict)
  })
})

describe('the prohibited blocks without the exceptions', () => {
  test('are what is left, in as few blocks as that takes', () => {
    const { ipv4, ipv6Outside } = prohibitedBlocks([
      '10.9.0.0/16',
      '192.168.0.0/16',
      '172.0.0.0/8',
      'fc00::/8',
    ])
    expect(ipv4.filter((block) => /^(?:10|172|192\.168)\./.test(block))).toEqual([
      '10.0.0.0/13',
      '10.8.0.0/16',
      '10.10.0.0/15',
      '10.12.0.0/14',
      '10.16.0.0/12',
      '10.32.0.0/11',
      '10.64.0.0/10',
      '10.128.0.0/9',
    ])
    expect(ipv6Outside.filter((block) => block.startsWith('f'))).toEqual([
      'f000::/5',
      'f800::/6',
      'fd00::/8',
      'fe00::/7',
    ])
  })

  const four = prohibitedBlocks().ipv4
  const six = [...prohibitedBlocks().ipv6, ...prohibitedBlocks().ipv6Outside]
  /** An exception somewhere in a prohibited block, or around it. */
  const exception = (all: readonly string[], shortest: number): fc.Arbitrary<string> =>
    fc
      .tuple(fc.constantFrom(...all), fc.nat(), fc.integer({ min: 1, max: 2 ** 30 }))
      .map(([text, seed, low]) => {
        const [address, bits] = ipaddr.parseCIDR(text)
        const bytes = address.toByteArray()
        const length = Math.max(shortest, Math.min(bytes.length * 8, bits - 2 + (seed % 24)))
        const filled = bytes.map((byte, at) => (at * 8 >= bits ? (low >> ((at % 4) * 8)) & 255 : byte))
        const base = ipaddr.fromByteArray(filled).toString()
        const kind = bytes.length === 4 ? ipaddr.IPv4 : ipaddr.IPv6
        return `${kind.networkAddressFromCIDR(`${base}/${length}`).toString()}/${length}`
      })
  const edges = (text: string): readonly string[] => {
    const kind = text.includes(':') ? ipaddr.IPv6 : ipaddr.IPv4
    const first = kind.networkAddressFromCIDR(text).toByteArray()
    const last = kind.broadcastAddressFromCIDR(text).toByteArray()
    const step = (bytes: readonly number[], by: 1 | -1): number[] => {
      const out = [...bytes]
      for (let at = out.length - 1; at >= 0; at -= 1) {
        out[at] = ((out[at] ?? 0) + by + 256) % 256
        if (out[at] !== (by === 1 ? 0 : 255)) break
      }
      return out
    }
    return [first, last, step(first, -1), step(last, 1)].map((bytes) =>
      ipaddr.fromByteArray(bytes).toString(),
    )
  }

  const rest = blocks('::/8')
  test.each([
    ['ipv4', four, 8],
    ['ipv6', six, 7],
  ] as const)('%s: they hold what the guard refuses, and nothing else', (family, all, shortest) => {
    const known = blocks(...all)
    fc.assert(
      fc.property(fc.array(exception(all, shortest), { minLength: 1, maxLength: 4 }), (allow) => {
        const left = prohibitedBlocks(allow)
        const list = new BlockList()
        for (const text of family === 'ipv4' ? left.ipv4 : [...left.ipv6, ...left.ipv6Outside]) {
          const [address, length] = ipaddr.parseCIDR(text)
          list.addSubnet(address.toString(), length, family)
        }
        // Of ::/8, where the v4-mapped block lies, only what means something.
        const asked = allow
          .flatMap(edges)
          .filter((address) => !inBlocks(address, rest) || inBlocks(address, known))
        expect(asked.filter((address) => list.check(address, family))).toEqual(
          asked.filter((address) => classifyAddress(address, blocks(...allow)).kind === 'prohibited'),
        )
      }),
      { numRuns: 100 },
    )
  })
})

describe("this host's own addresses", () => {
  const own = new Set(['198.35.26.96', '2620:0:861::1', '10.1.2.3'])
  test.each([
    ['its public address', '198.35.26.96', [], 'prohibited'],
    ['its public IPv6 address', '2620:0:861::1', [], 'prohibited'],
    ['the same in full', '2620:0000:0861:0000:0000:0000:0000:0001', [], 'prohibited'],
    ['the neighbour', '198.35.26.97', [], 'public'],
    ['its address, excepted on purpose', '198.35.26.96', ['198.35.26.96/32'], 'excepted'],
    ['its address, another one excepted', '198.35.26.96', ['198.35.26.97/32'], 'prohibited'],
    ['its private address', '10.1.2.3', [], 'prohibited'],
  ])('%s', (_what, address, allow, kind) => {
    expect(classifyAddress(address, blocks(...allow), own).kind).toBe(kind)
  })
})

describe('parseBlock', () => {
  test.each([
    ['10.0.0.0/8', 8],
    ['0.0.0.0/0', 0],
    ['192.0.2.7/32', 32],
    ['192.0.2.7', 32],
    ['192.0.2.6/31', 31],
    ['::/0', 0],
    ['fd00::/8', 8],
    ['2001:db8::/32', 32],
    ['::1', 128],
    ['::1/128', 128],
  ])('%s', (text, prefixLength) => {
    expect(parseBlock(text)).toMatchObject({ text, prefixLength })
  })

  test.each([
    ['host bits set', '10.0.0.1/8'],
    ['the last host bit set', '10.1.2.1/31'],
    ['host bits set over IPv6', 'fd00::1/8'],
    ['a prefix that spans 169.254/16 with host bits', '169.254.169.254/16'],
    ['a prefix over 32', '10.0.0.0/33'],
    ['a prefix over 128', '::/129'],
    ['a negative prefix', '10.0.0.0/-8'],
    ['a leading zero in the prefix', '10.0.0.0/08'],
    ['a plus in the prefix', '10.0.0.0/+8'],
    ['an empty prefix', '10.0.0.0/'],
    ['two prefixes', '10.0.0.0/8/8'],
    ['a mask', '10.0.0.0/255.0.0.0'],
    ['a short address', '10/8'],
    ['an octal octet', '010.0.0.0/8'],
    ['a hexadecimal octet', '0xa.0.0.0/8'],
    ['an octet of 256', '256.0.0.0/8'],
    ['a zone id', 'fe80::%eth0/10'],
    ['brackets', '[::1]/128'],
    ['a name', 'localhost'],
    ['nothing', ''],
    ['a slash', '/8'],
    ['a space', '10.0.0.0 /8'],
    ['a range', '10.0.0.0-10.0.0.255'],
  ])('%s: %j is none', (_what, text) => {
    expect(parseBlock(text)).toBeUndefined()
  })

  test('a block holds the addresses that Node says it holds', () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.nat(32), fc.ipV4(), (base, length, address) => {
        const bits = base.split('.').reduce((sum, octet) => sum * 256 + Number(octet), 0)
        const network = length === 0 ? 0 : Math.floor(bits / 2 ** (32 - length)) * 2 ** (32 - length)
        const text = [24, 16, 8, 0].map((shift) => Math.floor(network / 2 ** shift) % 256).join('.')
        const reference = new BlockList()
        reference.addSubnet(text, length, 'ipv4')
        const asked = [address, base, text]
        expect(asked.map((one) => inBlocks(one, blocks(`${text}/${length}`)))).toEqual(
          asked.map((one) => reference.check(one, 'ipv4')),
        )
      }),
      { numRuns: 300 },
    )
  })
})

describe('clients', () => {
  test.each([
    ['127.0.0.1', ['127.0.0.0/8'], true],
    ['128.0.0.1', ['127.0.0.0/8'], false],
    // How a listener on `::` sees an IPv4 client.
    ['::ffff:127.0.0.1', ['127.0.0.0/8'], true],
    ['::ffff:10.0.0.1', ['127.0.0.0/8'], false],
    ['::1', ['127.0.0.0/8', '::1/128'], true],
    ['fe80::1%eth0', ['fe80::/10'], true],
    ['::1', ['0.0.0.0/0'], false],
    ['127.0.0.1', [], false],
    ['', ['0.0.0.0/0', '::/0'], false],
    ['localhost', ['0.0.0.0/0', '::/0'], false],
    // `startsWith('127.')` would let it in.
    ['127.0.0.1.evil.test', ['127.0.0.0/8'], false],
  ])('%j in %j: %s', (address, allow, expected) => {
    expect(inBlocks(address, blocks(...allow))).toBe(expected)
  })
})

test.each([
  ['127.0.0.1', '127.0.0.1'],
  ['::ffff:127.0.0.1', '127.0.0.1'],
  ['::FFFF:7F00:1', '127.0.0.1'],
  ['2606:4700:0000::1111', '2606:4700::1111'],
  ['fe80::1%eth0', 'fe80::1'],
  ['cgr.dev', undefined],
  ['', undefined],
])('the canonical text of %j', (address, canonical) => {
  expect(canonicalAddress(address)).toBe(canonical)
})
