/** The header of a load balancer. What is taken for one means the same whatever comes behind it, and however it comes. */
import assert from 'node:assert/strict'
import { isIP } from 'node:net'
import { canonicalAddress } from '../../src/policy/addresses.ts'
import { parseProxyHeader } from '../../src/proxy/proxy-protocol.ts'
import { segments, texts, type FuzzTarget } from './target.ts'

/** The longest that either version may be. */
const MAX_BYTES = 4096
const V2 = '0d0a0d0a000d0a515549540a'
const v2 = (rest: string): Buffer => Buffer.from(V2 + rest.replaceAll(' ', ''), 'hex')
const V6 = '20010db8000000000000000000000001'

export const proxyProtocol: FuzzTarget = {
  name: 'proxy-protocol',
  seeds: [
    ...texts(
      'PROXY TCP4 192.0.2.1 203.0.113.7 50122 443\r\nCONNECT cgr.dev:443 HTTP/1.1\r\n',
      'PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 0 65535\r\n',
      'PROXY UNKNOWN\r\n',
      'PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 1 2 3\r\n',
    ),
    v2('21 11 000c c0000201 cb007107 c3ca 01bb'),
    v2(`21 21 0024 ${V6} ${V6} c3ca 01bb`),
    v2('20 00 0000'),
    v2('21 00 0004 04000161'),
    // With an extension behind the addresses.
    v2('21 11 0013 c0000201 cb007107 c3ca 01bb 040004 00000000'),
  ],
  dictionary: [
    ...texts(
      '\r\n',
      '\n',
      ' ',
      'PROXY ',
      'TCP4 ',
      'TCP6 ',
      'UNKNOWN',
      '::',
      '::ffff:',
      '1.2.3.4',
      '065535',
      '\0',
    ),
    v2(''),
    Buffer.from('2111000c', 'hex'),
    Buffer.from('21210024', 'hex'),
    Buffer.from('ffff', 'hex'),
  ],
  check(input) {
    const whole = parseProxyHeader(input)
    // As it is read: everything so far, each time more has come.
    let sofar = Buffer.alloc(0)
    for (const piece of segments(input)) {
      sofar = Buffer.concat([sofar, piece])
      const verdict = parseProxyHeader(sofar)
      if (verdict.kind === 'incomplete') continue
      assert.deepEqual(verdict, whole, 'the verdict depends on the segments')
      break
    }
    if (whole.kind === 'incomplete') {
      assert.ok(input.length < MAX_BYTES, 'it waits for more than the limit')
      return 'incomplete'
    }
    if (whole.kind === 'malformed') return whole.detail
    const { length, source } = whole
    assert.ok(length > 0 && length <= Math.min(input.length, MAX_BYTES), 'it takes what is not there')
    assert.deepEqual(parseProxyHeader(input.subarray(0, length)), whole, 'what follows changes it')
    assert.equal(
      parseProxyHeader(input.subarray(0, length - 1)).kind,
      'incomplete',
      'it is taken before its end',
    )
    const version = input[0] === 0x50 ? 1 : 2
    if (!source) return `version ${version}, no client`
    assert.ok(Number.isInteger(source.port) && source.port >= 0 && source.port <= 65_535)
    assert.equal(canonicalAddress(source.address), source.address, 'an address in another spelling')
    if (version === 1) {
      const [, family, address, , port] = input.toString('latin1', 0, length - 2).split(' ')
      assert.equal(isIP(address ?? ''), family === 'TCP4' ? 4 : 6)
      assert.equal(canonicalAddress(address ?? ''), source.address)
      assert.equal(port, String(source.port))
    } else {
      assert.equal(source.port, input.readUInt16BE(input[13] === 0x11 ? 24 : 48))
    }
    return `version ${version}, IPv${isIP(source.address)}`
  },
}
