/** However the bytes of both sides are cut and come in turn, the second ClientHello is judged as if it came whole. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { HandshakeWatch } from '../../src/tls/handshake-watch.ts'
import { RETRY_RANDOM } from '../../src/tls/server-hello.ts'
import { buildHello, inRecords, serverName } from './hello-builder.ts'

const hello = (name: string, record: number): Buffer =>
  inRecords(buildHello({ extensions: [serverName(name)] }).message, record)
const record = (type: number, size: number): Buffer =>
  Buffer.concat([Buffer.from([type, 3, 3, size >> 8, size & 255]), Buffer.alloc(size, 22)])
const answer = (random: Buffer): Buffer =>
  Buffer.concat([Buffer.from([22, 3, 3, 0, 42, 2, 0, 0, 38, 3, 3]), random, Buffer.alloc(4)])

/** Feeds a watch as a relay does; answers with what passed upstream. */
function run(up: Buffer, down: Buffer, cuts: readonly number[], turns: readonly boolean[]) {
  const watch = new HandshakeWatch('cgr.dev')
  const sides = { up: { left: up, held: Buffer.alloc(0) }, down: { left: down, held: Buffer.alloc(0) } }
  let passed = Buffer.alloc(0)
  const feed = (side: 'up' | 'down', bytes: Buffer): void => {
    const all = Buffer.concat([sides[side].held, bytes])
    const count = watch.done ? all.length : watch[side](all)
    sides[side].held = all.subarray(count)
    if (side === 'up') passed = Buffer.concat([passed, all.subarray(0, count)])
    else if (!watch.refused && sides.up.held.length > 0) feed('up', Buffer.alloc(0))
  }
  for (let i = 0; sides.up.left.length + sides.down.left.length > 0 && !watch.refused; i += 1) {
    const wanted = turns[i % turns.length] === true ? 'up' : 'down'
    // A host answers what it has got.
    const ready = passed.length > 0 && sides.down.left.length > 0
    const side = (wanted === 'down' && ready) || sides.up.left.length === 0 ? 'down' : 'up'
    // The first hello comes whole: it has been read before.
    const size = passed.length === 0 ? firstLength : (cuts[i % cuts.length] ?? 1)
    feed(side, sides[side].left.subarray(0, size))
    sides[side].left = sides[side].left.subarray(size)
  }
  return { refused: watch.refused?.code, passed }
}
let firstLength = 0

const cuts = fc.array(fc.integer({ min: 1, max: 90 }), { minLength: 1, maxLength: 8 })
const turns = fc.array(fc.boolean(), { minLength: 1, maxLength: 8 })
const between = fc.array(
  fc
    .tuple(fc.constantFrom(20, 21, 23), fc.integer({ min: 0, max: 40 }))
    .map(([type, size]) => record(type, size)),
  { maxLength: 4 },
)
const recordSize = fc.constantFrom(1, 7, 60, 16_384)

test.for([
  { retried: true, name: 'cgr.dev', refused: undefined },
  { retried: true, name: 'evil.test', refused: 'sni_changed' },
  { retried: false, name: 'evil.test', refused: undefined },
])('retried $retried, the second names $name: $refused', ({ retried, name, refused }) => {
  fc.assert(
    fc.property(between, recordSize, recordSize, cuts, turns, (records, one, two, sizes, order) => {
      const first = hello('cgr.dev', one)
      firstLength = first.length
      const middle = Buffer.concat(records)
      const up = Buffer.concat([first, middle, hello(name, two)])
      const result = run(up, answer(retried ? RETRY_RANDOM : Buffer.alloc(32, 5)), sizes, order)
      expect(result.refused).toBe(refused)
      expect(result.passed).toEqual(refused === undefined ? up : Buffer.concat([first, middle]))
    }),
    { numRuns: 500 },
  )
})
