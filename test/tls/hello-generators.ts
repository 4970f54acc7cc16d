/** ClientHellos as clients may send them, and as nobody should. */
import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import {
  alpn,
  buildHello,
  inRecords,
  join,
  padding,
  raw,
  serverName,
  supportedVersions,
  uint16,
  vector,
  type Extension,
} from './hello-builder.ts'

export interface GeneratedHello {
  readonly message: Buffer
  readonly serverName: string | undefined
  readonly alpn: readonly string[]
  /** The message in pieces of these sizes, again and again until it ends. */
  cut(sizes: readonly number[]): Buffer[]
  cutBytes(bytes: Buffer, sizes: readonly number[]): Buffer[]
}

/** Sizes of pieces, to cut bytes with. */
export const slices = fc.oneof(
  fc.constant([65_536]),
  fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 6 }),
  fc.array(fc.integer({ min: 30, max: 900 }), { minLength: 1, maxLength: 6 }),
)

function cutBytes(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? bytes.length
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}

const greaseType = fc.integer({ min: 0, max: 15 }).map((nibble) => nibble * 0x1010 + 0x0a0a)
const label = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,10}[a-z0-9])?$/)
export const hostname = fc
  .tuple(
    fc.array(label, { minLength: 1, maxLength: 4 }),
    fc.constantFrom('dev', 'com', 'org', 'xn--p1ai'),
    fc.boolean(),
  )
  .map(([labels, top, loud]) =>
    loud ? [...labels, top].join('.').toUpperCase() : [...labels, top].join('.'),
  )

/** supported_groups, signature_algorithms and key_share, so that a server has something to choose from. */
const groups: Extension = {
  type: 10,
  data: vector('groups', 2, join(uint16(0x11ec), uint16(29), uint16(23))),
}
const signatures: Extension = {
  type: 13,
  data: vector('signatures', 2, join(...[0x0403, 0x0804, 0x0401, 0x0503, 0x0807].map(uint16))),
}
const keyShare = (): Extension => ({
  type: 51,
  data: vector('shares', 2, join(uint16(29), vector('share', 2, raw(randomBytes(32))))),
})
const modes: Extension = { type: 45, data: vector('modes', 1, raw(1)) }
/** GREASE ECH (RFC 9849 section 6.2): outer, a real suite, bytes that nobody can open. */
const greaseEch = (bytes: number): Extension => ({
  type: 0xfe0d,
  data: join(
    raw(0),
    uint16(1),
    uint16(1),
    raw(77),
    vector('enc', 2, raw(randomBytes(32))),
    vector('payload', 2, raw(randomBytes(bytes))),
  ),
})
/** An extension that no server knows, as large as a post-quantum key share. */
const large = (bytes: number): Extension => ({ type: 0x7a7b, data: raw(randomBytes(bytes)) })

export const generatedHello: fc.Arbitrary<GeneratedHello> = fc
  .record({
    name: fc.option(hostname, { nil: undefined, freq: 6 }),
    protocols: fc.uniqueArray(fc.constantFrom('h2', 'http/1.1', 'h3', 'spdy/3', 'x'), { maxLength: 4 }),
    greaseFirst: fc.option(greaseType, { nil: undefined }),
    greaseLast: fc.option(greaseType, { nil: undefined }),
    ech: fc.option(fc.integer({ min: 16, max: 400 }), { nil: undefined }),
    bulk: fc.option(fc.integer({ min: 1, max: 2500 }), { nil: undefined }),
    padded: fc.option(fc.nat(300), { nil: undefined }),
    version: fc.constantFrom('1.3', '1.3 and 1.2', '1.2'),
    order: fc.array(fc.nat(), { minLength: 12, maxLength: 12 }),
  })
  .map((given) => {
    const { name, protocols, greaseFirst, greaseLast, ech, bulk, padded, version, order } = given
    const modern: readonly Extension[] =
      version === '1.2'
        ? []
        : [supportedVersions(...(version === '1.3' ? [0x2a2a, 0x0304] : [0x0304, 0x0303])), keyShare(), modes]
    const inner = [
      groups,
      signatures,
      ...modern,
      ...(name === undefined ? [] : [serverName(name)]),
      ...(protocols.length > 0 ? [alpn(...protocols)] : []),
      ...(ech === undefined ? [] : [greaseEch(ech)]),
      ...(bulk === undefined ? [] : [large(bulk)]),
      ...(padded === undefined ? [] : [padding(padded)]),
    ]
    const shuffled = inner
      .map((extension, index) => ({ extension, key: order[index] ?? 0 }))
      .toSorted((a, b) => a.key - b.key)
      .map(({ extension }) => extension)
    const extensions = [
      ...(greaseFirst === undefined ? [] : [{ type: greaseFirst, data: raw() }]),
      ...shuffled,
      ...(greaseLast === undefined || greaseLast === greaseFirst ? [] : [{ type: greaseLast, data: raw(0) }]),
    ]
    const suites = Buffer.from('0a0a130113021303c02bc02fc02cc030cca9', 'hex')
    const { message } = buildHello({ suites, extensions })
    return {
      message,
      serverName: name,
      alpn: protocols,
      cut: (sizes: readonly number[]) => cutBytes(message, sizes),
      cutBytes,
    }
  })

const byte = fc.oneof(
  fc.constantFrom(0, 1, 3, 0x16, 0x2e, 0x7f, 0x80, 0xff),
  fc.integer({ min: 0, max: 255 }),
)
const change = fc.record({
  at: fc.nat(),
  // What keeps the length is read to its end more often, and there a wrong reading would be found.
  how: fc.oneof(
    { weight: 3, arbitrary: fc.constantFrom('replace', 'near the name') },
    { weight: 1, arbitrary: fc.constantFrom('insert', 'delete', 'repeat', 'cut') },
  ),
  byte,
})

/** Hellos with up to three bytes changed; often near the server name, where it matters. */
export const mutatedBytes: fc.Arbitrary<Buffer> = fc
  .tuple(generatedHello, fc.array(change, { minLength: 1, maxLength: 3 }), slices)
  .map(([hello, changes, records]) => {
    const wire = Buffer.concat(hello.cut(records).map((piece) => inRecords(piece)))
    return changes.reduce<Buffer>((bytes, { at, how, byte }) => {
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
        case 'near the name': {
          const start = hello.serverName === undefined ? -1 : bytes.indexOf(hello.serverName)
          if (start < 9) return bytes
          // The nine bytes before the name are its type and lengths.
          const spot = start - 9 + (at % ((hello.serverName?.length ?? 0) + 9))
          return Buffer.concat([bytes.subarray(0, spot), Buffer.of(byte), bytes.subarray(spot + 1)])
        }
      }
    }, wire)
  })
