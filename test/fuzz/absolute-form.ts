/** The head parser where requests in absolute-form are forwarded: what it takes on, Node reads the same way. */
import assert from 'node:assert/strict'
import { parseAuthority } from '../../src/policy/authority.ts'
import { MAX_HEAD_BYTES } from '../../src/proxy/head.ts'
import { askNode } from './node-http.ts'
import { parseHead } from './parse-head.ts'
import { segments, texts, type FuzzTarget } from './target.ts'

export const absoluteForm: FuzzTarget = {
  name: 'absolute-form',
  seeds: texts(
    'GET https://cgr.dev/v2/?a=b HTTP/1.1\r\nHost: cgr.dev\r\nUser-Agent: axios/1.15\r\n\r\n',
    'GET https://cgr.dev:8443 HTTP/1.0\r\n\r\n',
    'POST https://cgr.dev/token HTTP/1.1\r\nHost: cgr.dev\r\nContent-Length: 3\r\n\r\na=b',
    'PUT https://cgr.dev/blob HTTP/1.1\r\nHost: cgr.dev\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
    'HEAD https://[2001:db8::1]/x HTTP/1.1\r\nHost: [2001:db8::1]\r\nExpect: 100-continue\r\n\r\n',
    'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev:443\r\n\r\n',
  ),
  dictionary: texts(
    '\r\n',
    '\n',
    ' ',
    ':',
    'https://',
    'http://',
    'HTTPS://',
    '/',
    '//',
    '?',
    '#',
    '@',
    '\\',
    '%2f',
    'Host: cgr.dev\r\n',
    'Content-Length: 5\r\n',
    'Content-Length: +5\r\n',
    'Content-Length: 0x5\r\n',
    'Transfer-Encoding: chunked\r\n',
    'Transfer-Encoding: gzip, chunked\r\n',
    'Expect: 100-continue\r\n',
    'Connection: Upgrade\r\nUpgrade: x\r\n',
    'OPTIONS ',
    'DELETE ',
    '__proto__: x\r\n',
    '\x80',
    '\0',
  ),
  async check(input) {
    const whole = parseHead([input], true)
    assert.deepEqual(parseHead(segments(input), true), whole, 'the verdict depends on the segments')
    if (whole.kind === 'incomplete') {
      assert.ok(input.length < MAX_HEAD_BYTES, 'it waits for more than the limit')
      return 'incomplete'
    }
    if (whole.kind === 'refused') return `${whole.code} ${whole.detail}`
    if (whole.kind === 'connect') {
      assert.deepEqual(
        parseHead([input]),
        whole,
        'a CONNECT means something else where requests are forwarded',
      )
      return 'connect'
    }
    // Refused in the next step, before anybody else reads it.
    const parsed = parseAuthority(whole.target)
    if (parsed.kind === 'malformed') return `absolute, ${parsed.malformation}`
    const node = await askNode(input)
    assert.ok(node !== 'refused', 'Node refuses it')
    const [, authority = '', path = ''] = /^https:\/\/([^/?#]*)(.*)$/i.exec(node.target ?? '') ?? []
    const { method, version, host, userAgent } = whole
    assert.deepEqual(
      { method, version, host, userAgent },
      { method: node.method, version: node.version, host: node.host, userAgent: node.userAgent },
      'Node reads another head',
    )
    assert.ok(whole.target === authority || whole.target === `${authority}:443`, 'Node reads another host')
    assert.equal(whole.path, path.startsWith('/') ? path : `/${path}`, 'Node reads another path')
    assert.match(whole.path, /^[!-~]+$/)
    return `absolute, ${method}, ${version}, ${host === undefined ? 'no host' : 'host'}, ${node.framing}`
  },
}
