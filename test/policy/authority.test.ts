import { isIPv4, isIPv6 } from 'node:net'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isIPv4Literal, isIPv6Literal, parseAuthority, parsePort } from '../../src/policy/authority.ts'

/** As the head parser hands it over: one character for each byte. */
const bytes = (text: string): string => Buffer.from(text, 'utf8').toString('latin1')

describe('targets that are well-formed', () => {
  test.each([
    ['cgr.dev:443', 'cgr.dev', 443],
    ['CGR.DEV:443', 'cgr.dev', 443],
    ['Cgr.Dev:65535', 'cgr.dev', 65_535],
    ['cgr.dev:1', 'cgr.dev', 1],
    ['1password.com:443', '1password.com', 443],
    ['9236a389bd48b984df91adc1bc924620.r2.cloudflarestorage.com:443', undefined, 443],
    ['xn--gr-nmc.dev:443', 'xn--gr-nmc.dev', 443],
    ['localhost:443', 'localhost', 443],
    ['a:80', 'a', 80],
    ['3.dev:443', '3.dev', 443],
    [`${'a'.repeat(63)}.dev:443`, undefined, 443],
    [`${'a.'.repeat(126)}a:443`, undefined, 443],
  ])('%s', (target, host, port) => {
    expect(parseAuthority(target)).toEqual({
      kind: 'name',
      host: host ?? target.slice(0, target.lastIndexOf(':')),
      port,
    })
  })

  test.each([
    ['140.82.114.4:443', '140.82.114.4', 4],
    ['127.0.0.1:443', '127.0.0.1', 4],
    ['169.254.169.254:80', '169.254.169.254', 4],
    ['0.0.0.0:443', '0.0.0.0', 4],
    ['255.255.255.255:443', '255.255.255.255', 4],
    ['[::1]:443', '::1', 6],
    ['[::]:443', '::', 6],
    ['[2606:4700:4700::1111]:443', '2606:4700:4700::1111', 6],
    ['[::FFFF:A9FE:A9FE]:443', '::ffff:a9fe:a9fe', 6],
    ['[::ffff:127.0.0.1]:443', '::ffff:127.0.0.1', 6],
    ['[1:2:3:4:5:6:7:8]:443', '1:2:3:4:5:6:7:8', 6],
  ])('%s is an address', (target, host, family) => {
    const port = Number(target.slice(target.lastIndexOf(':') + 1))
    expect(parseAuthority(target)).toEqual({ kind: 'ip', host, family, port })
  })
})

describe('malformed targets', () => {
  test.each([
    ['nothing at all', '', 'empty'],
    ['a port without a host', ':443', 'empty'],
    ['two colons without a host', '::443', 'empty'],
    ['no port', 'cgr.dev', 'missing_port'],
    ['a colon without a port', 'cgr.dev:', 'missing_port'],
    ['an address without a port', '[::1]', 'missing_port'],
    ['an address with a colon only', '[::1]:', 'missing_port'],
    ['port 0', 'cgr.dev:0', 'bad_port'],
    ['a leading zero', 'cgr.dev:0443', 'bad_port'],
    ['two leading zeros', 'cgr.dev:00443', 'bad_port'],
    ['a plus sign', 'cgr.dev:+443', 'bad_port'],
    ['a minus sign', 'cgr.dev:-443', 'bad_port'],
    ['a hexadecimal port', 'cgr.dev:0x1bb', 'bad_port'],
    ['a fractional port', 'cgr.dev:443.0', 'bad_port'],
    ['an exponent', 'cgr.dev:44e1', 'bad_port'],
    ['an underscore in the port', 'cgr.dev:4_43', 'bad_port'],
    ['a service name', 'cgr.dev:https', 'bad_port'],
    ['65536, one too many', 'cgr.dev:65536', 'bad_port'],
    ['65979, which wraps to 443', 'cgr.dev:65979', 'bad_port'],
    ['a port that overflows 32 bits', 'cgr.dev:4294967739', 'bad_port'],
    ['two ports', 'cgr.dev:443:80', 'bad_port'],
    ['two colons', 'cgr.dev::443', 'bad_port'],
    ['an IPv6 port with a leading zero', '[::1]:0443', 'bad_port'],
    ['an IPv6 address without brackets', '::1:443', 'empty'],
    ['an IPv6 address without brackets, longer', '2606:4700::1111:443', 'bad_port'],
    ['a scheme', 'https://cgr.dev:443', 'scheme'],
    ['another scheme', 'connect://cgr.dev:443', 'scheme'],
    ['user information', 'cgr.dev@evil.test:443', 'userinfo'],
    ['user information with a port', 'cgr.dev:443@evil.test:443', 'userinfo'],
    ['user and password', 'user:secret@cgr.dev:443', 'userinfo'],
    ['a trailing slash', 'cgr.dev:443/', 'path'],
    ['a path before the port', 'cgr.dev/x:443', 'path'],
    ['a query', 'cgr.dev:443?x', 'path'],
    ['a fragment', 'cgr.dev:443#x', 'path'],
    ['a backslash', 'cgr.dev\\.evil.test:443', 'path'],
    ['a backslash and user information', 'cgr.dev\\@evil.test:443', 'userinfo'],
    ['an encoded NUL', 'evil.test%00.cgr.dev:443', 'percent_escape'],
    ['an encoded dot', 'cgr%2edev:443', 'percent_escape'],
    ['a doubly encoded dot', 'cgr%252edev:443', 'percent_escape'],
    ['a raw NUL', 'evil.test\0.cgr.dev:443', 'whitespace'],
    ['a space before the colon', 'cgr.dev :443', 'whitespace'],
    ['a space before the port', 'cgr.dev: 443', 'whitespace'],
    ['a tab', 'cgr.dev\t:443', 'whitespace'],
    ['a line break', 'cgr.dev:443\r\nHost: evil.test', 'whitespace'],
    ['a line break behind the port', 'cgr.dev:443\n', 'whitespace'],
    ['a lone star', '*:443', 'wildcard'],
    ['a wildcard', '*.dev:443', 'wildcard'],
    ['a name in brackets', '[cgr.dev]:443', 'bad_brackets'],
    ['an opening bracket', '[cgr.dev:443', 'bad_brackets'],
    ['a closing bracket', 'cgr.dev]:443', 'bad_brackets'],
    ['a bracket inside', 'cgr[.dev:443', 'bad_brackets'],
    ['an IPv4 address in brackets', '[127.0.0.1]:443', 'bad_brackets'],
    ['an IPvFuture literal', '[v1.cgr.dev]:443', 'bad_brackets'],
    ['nothing in brackets', '[]:443', 'bad_brackets'],
    ['two pairs of brackets', '[[::1]]:443', 'bad_brackets'],
    ['text behind the brackets', '[::1]x:443', 'bad_brackets'],
    ['a name behind the brackets', '[::1].cgr.dev:443', 'bad_brackets'],
    ['a zone id', '[fe80::1%eth0]:443', 'percent_escape'],
    ['a zone id that ends in an allowed name', '[::ffff:127.0.0.1%x.cgr.dev]:443', 'percent_escape'],
    ['a trailing dot', 'cgr.dev.:443', 'trailing_dot'],
    ['a trailing dot on localhost', 'localhost.:443', 'trailing_dot'],
    ['a trailing dot on an address', '169.254.169.254.:80', 'trailing_dot'],
    ['two trailing dots', 'cgr.dev..:443', 'empty_label'],
    ['a leading dot', '.cgr.dev:443', 'empty_label'],
    ['an empty label inside', 'cgr..dev:443', 'empty_label'],
    ['the root', '.:443', 'empty_label'],
    ['an exclamation mark', 'cgr.dev!:443', 'bad_character'],
    ['parentheses', '(cgr.dev):443', 'bad_character'],
    ['a plus', 'cgr.dev+:443', 'bad_character'],
    ['an underscore', '_x.cgr.dev:443', 'bad_character'],
    ['two hosts', 'cgr.dev,evil.test:443', 'bad_character'],
    ['a control byte', 'cgr\x01.dev:443', 'bad_character'],
    ['DEL', 'cgr\x7f.dev:443', 'bad_character'],
    ['a label that starts with a hyphen', '-cgr.dev:443', 'bad_label'],
    ['a label that ends with a hyphen', 'cgr-.dev:443', 'bad_label'],
    ['a label of 64', `${'a'.repeat(64)}.dev:443`, 'bad_label'],
    ['a name of 254', `${'a.'.repeat(126)}aa:443`, 'too_long'],
    ['a name of 10 KiB', `${'a.'.repeat(5120)}dev:443`, 'too_long'],
    ['a Cyrillic homograph', bytes('сgr.dev:443'), 'not_ascii'],
    ['full-width letters', bytes('ｃｇｒ.dev:443'), 'not_ascii'],
    ['an ideographic full stop', bytes('cgr。dev:443'), 'not_ascii'],
    ['full-width port digits', bytes('cgr.dev:４４３'), 'not_ascii'],
    ['a circled number', bytes('1㉗.0.0.1:443'), 'not_ascii'],
    ['a Kelvin sign, which lower-cases to k', bytes('\u212a.dev:443'), 'not_ascii'],
    ['a byte that is no UTF-8', 'cgr\xff.dev:443', 'not_ascii'],
    ['a short form of 127.0.0.1', '127.1:443', 'numeric_host'],
    ['zero', '0:443', 'numeric_host'],
    ['a decimal address', '2130706433:443', 'numeric_host'],
    ['an octal address', '0177.0.0.1:443', 'numeric_host'],
    ['an octal metadata address', '0251.0376.0251.0376:80', 'numeric_host'],
    ['a mixed-radix metadata address', '169.254.43518:80', 'numeric_host'],
    ['five numbers', '1.2.3.4.5:443', 'numeric_host'],
    ['an octet of 256', '256.1.1.1:443', 'numeric_host'],
    ['a name below a number', 'cgr.dev.1:443', 'numeric_host'],
  ])('%s', (_what, target, malformation) => {
    expect(parseAuthority(target)).toEqual({ kind: 'malformed', malformation })
  })
})

describe('ports', () => {
  test.each([
    ['1', 1],
    ['443', 443],
    ['65535', 65_535],
  ])('%s is one', (text, port) => {
    expect(parsePort(text)).toBe(port)
  })
  test.each([
    '',
    '0',
    '00',
    '01',
    '65536',
    '99999',
    '100000',
    '-1',
    '+1',
    '1.5',
    ' 1',
    '1 ',
    '1\n',
    '0x1',
    '１',
  ])('%j is none', (text) => {
    expect(parsePort(text)).toBeUndefined()
  })
})

describe('properties', () => {
  const CANONICAL = /^(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
  const targets = fc.oneof(
    fc.string({ unit: 'binary' }).map(bytes),
    fc.stringMatching(/^[a-zA-Z0-9.:[\]@/%*_-]{0,40}$/),
    fc.tuple(fc.domain(), fc.integer({ min: 0, max: 70_000 })).map(([host, port]) => `${host}:${port}`),
    fc.tuple(fc.ipV6(), fc.nat(65_535)).map(([host, port]) => `[${host}]:${port}`),
  )

  test('whatever comes, what is accepted is the target itself in lower case', () => {
    fc.assert(
      fc.property(targets, (target) => {
        const result = parseAuthority(target)
        if (result.kind === 'malformed') return
        const host = result.kind === 'ip' && result.family === 6 ? `[${result.host}]` : result.host
        expect(`${host}:${result.port}`).toBe(target.toLowerCase())
        expect(result.port).toBeGreaterThanOrEqual(1)
        expect(result.port).toBeLessThanOrEqual(65_535)
        const canonical = CANONICAL.test(host) && host.length <= 253 && !isIPv4(host)
        expect(canonical).toBe(result.kind === 'name')
      }),
      { numRuns: 2000 },
    )
  })

  test('every domain name with a port is accepted', () => {
    fc.assert(
      fc.property(fc.domain(), fc.integer({ min: 1, max: 65_535 }), (host, port) => {
        expect(parseAuthority(`${host}:${port}`)).toEqual({ kind: 'name', host: host.toLowerCase(), port })
      }),
      { numRuns: 500 },
    )
  })

  test('address literals are those that Node takes for one, zone ids aside', () => {
    const nearly = fc.oneof(
      fc.ipV4(),
      fc.ipV4Extended(),
      fc.ipV6(),
      fc.stringMatching(/^[0-9a-f:.]{0,30}$/),
      fc
        .tuple(fc.ipV6(), fc.nat(20), fc.constantFrom(':', '.', '0', 'f', ''))
        .map(([address, at, insert]) => {
          const place = at % (address.length + 1)
          return address.slice(0, place) + insert + address.slice(place + 1)
        }),
    )
    fc.assert(
      fc.property(nearly, (text) => {
        expect(isIPv4Literal(text)).toBe(isIPv4(text))
        expect(isIPv6Literal(text)).toBe(isIPv6(text))
      }),
      { numRuns: 3000 },
    )
  })
})
