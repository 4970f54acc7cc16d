/**
 * Two parsers that read one head differently are a way around the policy. So: what ours accepts, Node's own accepts
 * with the same meaning. Checked on a real `node:http` server over a loopback socket, with heads made to be valid and
 * heads with bytes changed, put in or taken out.
 */
import { createServer, type IncomingMessage, type Server } from 'node:http'
import { connect, type Socket } from 'node:net'
import fc from 'fast-check'
import { expect, onTestFinished, test } from 'vitest'
import { parseAuthority } from '../../src/policy/authority.ts'
import { HeadParser, MAX_HEAD_BYTES, type HeadResult } from '../../src/proxy/head.ts'
import { within } from '../support/deadline.ts'

/** What a head means. */
interface Meaning {
  readonly method: string | undefined
  readonly target: string | undefined
  readonly version: string
  readonly host: string | undefined
  readonly userAgent: string | undefined
  /** What follows the head: both must see its end in the same place. */
  readonly tunnel: string
}

type Judge = (bytes: Buffer) => Promise<Meaning | 'refused'>

/** Node's parser on a real socket, for the running test. One head at a time. */
async function openJudge(): Promise<Judge> {
  let verdict: (meaning: Meaning | 'refused') => void = () => undefined
  const server: Server = createServer({ requireHostHeader: true }, (request, response) => {
    // A request that is no CONNECT.
    verdict(meaningOf(request, Buffer.alloc(0)))
    response.end()
  })
  server.on('connect', (request, socket, rest: Buffer) => {
    const tunnel = [rest]
    socket.on('data', (chunk: Buffer) => tunnel.push(chunk))
    socket.on('end', () => {
      verdict(meaningOf(request, Buffer.concat(tunnel)))
      socket.destroy()
    })
    socket.on('error', () => undefined)
  })
  server.on('upgrade', (request, socket, rest: Buffer) => {
    verdict(meaningOf(request, rest))
    socket.destroy()
  })
  server.on('clientError', (_, socket) => {
    verdict('refused')
    socket.destroy()
  })
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve)
  })
  const bound = server.address()
  const port = typeof bound === 'object' && bound !== null ? bound.port : 0

  async function judge(bytes: Buffer): Promise<Meaning | 'refused'> {
    const { promise, resolve } = Promise.withResolvers<Meaning | 'refused'>()
    verdict = resolve
    const socket: Socket = connect({ port, host: '127.0.0.1' })
    socket.on('error', () => undefined)
    // The FIN makes an unfinished head an error instead of a wait.
    socket.end(bytes)
    socket.resume()
    try {
      return await within(promise, `a verdict of node:http on ${JSON.stringify(bytes.toString('latin1'))}`)
    } finally {
      socket.destroy()
    }
  }
  onTestFinished(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  )
  return judge
}

function meaningOf(request: IncomingMessage, rest: Buffer): Meaning {
  return {
    method: request.method,
    target: request.url,
    version: request.httpVersion,
    host: request.headers.host,
    userAgent: request.headers['user-agent'],
    tunnel: rest.toString('latin1'),
  }
}

function parse(bytes: Buffer): HeadResult {
  return new HeadParser().push(bytes)
}

/**
 * What the gate goes on with: a well-formed head whose target is an authority. The head parser passes targets of any
 * bytes on, so that the authority's parser can name what is wrong with them; each of those is refused.
 */
function accepted(bytes: Buffer): Meaning | undefined {
  const head = parse(bytes)
  if (head.kind !== 'connect' || parseAuthority(head.target).kind === 'malformed') return undefined
  const { target, version, host, userAgent, rest } = head
  return { method: 'CONNECT', target, version, host, userAgent, tunnel: rest.toString('latin1') }
}

const TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~09azAZ".split('')
const token = fc.string({ unit: fc.constantFrom(...TOKEN_CHARACTERS), minLength: 1, maxLength: 20 })
/** Bytes of a field value: printable, tab, and 0x80 to 0xff. */
const value = fc.string({
  unit: fc
    .oneof(
      { weight: 8, arbitrary: fc.integer({ min: 0x20, max: 0x7e }) },
      { weight: 1, arbitrary: fc.constant(0x09) },
      { weight: 1, arbitrary: fc.integer({ min: 0x80, max: 0xff }) },
    )
    .map((code) => String.fromCharCode(code)),
  maxLength: 60,
})
const blank = fc.string({ unit: fc.constantFrom(' ', '\t'), maxLength: 3 })
const host = fc.constantFrom('cgr.dev', 'CGR.dev', 'a-b.example.com', '192.0.2.1', '[2001:db8::1]', 'x')
const port = fc.integer({ min: 1, max: 65_535 })

/** Fields with a meaning to some parser, and fields with none. */
const field = fc.oneof(
  fc.tuple(token, value),
  fc.tuple(
    fc.constantFrom(
      'User-Agent',
      'user-agent',
      'Connection',
      'Proxy-Connection',
      'Upgrade',
      'Expect',
      'Content-Length',
      'Transfer-Encoding',
      'Host',
      'Cookie',
      'Keep-Alive',
      'TE',
      'Trailer',
      '__proto__',
      'constructor',
    ),
    fc.oneof(
      value,
      fc.constantFrom('close', 'keep-alive', 'upgrade', 'Upgrade, close', 'websocket', 'h2c', '100-continue'),
      fc.constantFrom('0', '00', '5', '', '0, 0', 'chunked', 'identity', 'cgr.dev:443', 'trailers'),
    ),
  ),
)

const head = fc
  .record({
    method: fc.oneof({ weight: 9, arbitrary: fc.constant('CONNECT') }, { weight: 1, arbitrary: token }),
    host,
    port,
    version: fc.oneof(
      { weight: 9, arbitrary: fc.constantFrom('1.1', '1.1', '1.1', '1.0') },
      { weight: 1, arbitrary: fc.constantFrom('2.0', '1.2', '0.9', '1.11') },
    ),
    hostField: fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom('same', 'bare') },
      { weight: 1, arbitrary: fc.constantFrom('none', 'twice') },
    ),
    fields: fc.array(fc.tuple(field, blank, blank), { maxLength: 8 }),
    tunnel: fc.oneof(
      fc.constant(''),
      fc.constant('\x16\x03\x01'),
      fc.constant('GET / HTTP/1.1\r\n\r\n'),
      value,
    ),
  })
  .map(({ method, host, port, version, hostField, fields, tunnel }) => {
    const named = hostField === 'bare' ? `Host: ${host}` : `Host: ${host}:${port}`
    const hosts = { none: [], twice: [named, named], same: [named], bare: [named] }[hostField]
    const lines = fields.map(([[name, text], before, behind]) => `${name}:${before}${text}${behind}`)
    return Buffer.from(
      [`${method} ${host}:${port} HTTP/${version}`, ...hosts, ...lines, '', tunnel].join('\r\n'),
      'latin1',
    )
  })

const NASTY = [
  0x00, 0x01, 0x09, 0x0a, 0x0b, 0x0d, 0x16, 0x20, 0x22, 0x2c, 0x3a, 0x3b, 0x40, 0x7f, 0x80, 0x85, 0xa0, 0xff,
]
const byte = fc.oneof(fc.constantFrom(...NASTY), fc.integer({ min: 0, max: 255 }))

/** A head with up to four bytes changed, put in, taken out or said twice. */
const mutated = fc
  .tuple(
    head,
    fc.array(
      fc.record({
        at: fc.nat(),
        how: fc.constantFrom('replace', 'insert', 'delete', 'repeat', 'cut'),
        byte,
      }),
      { minLength: 1, maxLength: 4 },
    ),
  )
  .map(([whole, changes]) =>
    changes.reduce<Buffer>((bytes, { at, how, byte }) => {
      if (bytes.length === 0) return bytes
      const here = at % bytes.length
      const before = bytes.subarray(0, here)
      switch (how) {
        case 'replace':
          return Buffer.concat([before, Buffer.of(byte), bytes.subarray(here + 1)])
        case 'insert':
          return Buffer.concat([before, Buffer.of(byte), bytes.subarray(here)])
        case 'delete':
          return Buffer.concat([before, bytes.subarray(here + 1)])
        case 'repeat':
          return Buffer.concat([before, bytes.subarray(here, here + 12), bytes.subarray(here)])
        case 'cut':
          return before
      }
    }, whole),
  )

/** Compares the two parsers on the heads that we accept, and says how many these were: none would prove nothing. */
async function compare(heads: fc.Arbitrary<Buffer>, runs: number): Promise<number> {
  const judge = await openJudge()
  let compared = 0
  await fc.assert(
    fc.asyncProperty(heads, async (bytes) => {
      const ours = accepted(bytes)
      if (!ours) return
      compared += 1
      expect(await judge(bytes)).toEqual(ours)
    }),
    { numRuns: runs },
  )
  return compared
}

test('Node reads every head that we accept, and reads it as we do', async () => {
  expect(await compare(head, 600)).toBeGreaterThan(60)
})

test('the same for heads with bytes changed', async () => {
  expect(await compare(mutated, 1500)).toBeGreaterThan(60)
})

test.for([
  { what: 'blanks around Content-Length: 0', lines: ['Host: cgr.dev', 'Content-Length: \t0\t '] },
  { what: 'a bare Content-Length: 0', lines: ['Host: cgr.dev', 'Content-Length:0'] },
  { what: 'two user agents', lines: ['Host: cgr.dev', 'User-Agent: one', 'User-Agent: two'] },
  { what: 'an empty user agent', lines: ['Host: cgr.dev', 'User-Agent:'] },
  { what: 'a user agent beyond ASCII', lines: ['Host: cgr.dev', 'User-Agent: \x80\xff \t x'] },
  { what: 'an empty Host', lines: ['Host: '] },
  { what: 'an upgrade', lines: ['Host: cgr.dev', 'Connection: Upgrade', 'Upgrade: websocket'] },
  { what: 'an expectation', lines: ['Host: cgr.dev', 'Expect: 100-continue'] },
  { what: 'an unknown expectation', lines: ['Host: cgr.dev', 'Expect: the unexpected'] },
  { what: 'a closing connection', lines: ['Host: cgr.dev', 'Connection: close'] },
  { what: 'names of object properties', lines: ['Host: cgr.dev', '__proto__: x', 'constructor: y'] },
  { what: '64 fields', lines: ['Host: cgr.dev', ...Array.from({ length: 63 }, (_, i) => `X-${i}: ${i}`)] },
  { what: 'a value of nearly 16 KiB', lines: ['Host: cgr.dev', `X: ${'x'.repeat(MAX_HEAD_BYTES - 60)}`] },
])('Node reads it as we do: $what', async ({ lines }) => {
  const judge = await openJudge()
  const bytes = Buffer.from(['CONNECT cgr.dev:443 HTTP/1.1', ...lines, '', 'tunnel'].join('\r\n'), 'latin1')
  expect(accepted(bytes)).toBeDefined()
  expect(await judge(bytes)).toEqual(accepted(bytes))
})

test('any segmentation gives the verdict of the whole', () => {
  const cuts = fc.array(fc.nat(), { maxLength: 20 })
  fc.assert(
    fc.property(fc.oneof(head, mutated), cuts, (bytes, cuts) => {
      expect(inSegments(bytes, cuts)).toEqual(atOnce(bytes))
    }),
    { numRuns: 3000 },
  )
})

test('a byte at a time gives the verdict of the whole', () => {
  fc.assert(
    fc.property(fc.oneof(head, mutated), (bytes) => {
      expect(inSegments(bytes, Array.from(bytes.keys()))).toEqual(atOnce(bytes))
    }),
    { numRuns: 300 },
  )
})

test('so it is around the limit of the head', () => {
  const long = fc
    .record({ excess: fc.integer({ min: -3, max: 3 }), end: fc.constantFrom('\r\n\r\n', '\r\n', '\n', ' ') })
    .map(({ excess, end }) => {
      const start = 'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev\r\nX: '
      const filler = 'x'.repeat(MAX_HEAD_BYTES + excess - start.length - end.length)
      return Buffer.from(`${start}${filler}${end}tunnel`)
    })
  const cuts = fc.array(fc.integer({ min: MAX_HEAD_BYTES - 8, max: MAX_HEAD_BYTES + 8 }), { maxLength: 4 })
  fc.assert(
    fc.property(long, cuts, (bytes, cuts) => {
      expect(inSegments(bytes, cuts)).toEqual(atOnce(bytes))
    }),
    { numRuns: 300 },
  )
})

/** A verdict that can be compared: what was read as tunnel bytes is text. */
function comparable(result: HeadResult, later: readonly Buffer[]): unknown {
  if (result.kind !== 'connect') return result
  return { ...result, rest: Buffer.concat([result.rest, ...later]).toString('latin1') }
}

function atOnce(bytes: Buffer): unknown {
  return comparable(parse(bytes), [])
}

function inSegments(bytes: Buffer, cuts: readonly number[]): unknown {
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].toSorted((a, b) => a - b)
  const segments = [...places, bytes.length].map((end, i) => bytes.subarray(places[i - 1] ?? 0, end))
  const parser = new HeadParser()
  for (const [index, segment] of segments.entries()) {
    // No wire hands over nothing.
    if (segment.length === 0) continue
    const result = parser.push(segment)
    if (result.kind !== 'incomplete') return comparable(result, segments.slice(index + 1))
  }
  return { kind: 'incomplete' }
}
