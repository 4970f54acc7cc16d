/** How a server's answer to a ClientHello is told apart: a HelloRetryRequest, or anything else. */
import { expect, test } from 'vitest'
import { judgeAnswer, RETRY_RANDOM, type Answer } from '../../src/tls/server-hello.ts'

const record = (type: number, ...payload: readonly (Buffer | number)[]): Buffer => {
  const body = Buffer.concat(payload.map((part) => (Buffer.isBuffer(part) ? part : Buffer.from([part]))))
  return Buffer.concat([Buffer.from([type, 3, 3, body.length >> 8, body.length & 255]), body])
}
const hello = (random: Buffer): Buffer =>
  Buffer.concat([Buffer.from([2, 0, 0, 84, 3, 3]), random, Buffer.alloc(48)])
const retry = hello(RETRY_RANDOM)
const WARNING = record(21, 1, 112)

/** As a relay asks: about all that has come so far, until that is decided. */
const judge = (pieces: readonly Buffer[]): Answer => {
  let bytes = Buffer.alloc(0)
  for (const piece of pieces) {
    bytes = Buffer.concat([bytes, piece])
    const answer = judgeAnswer(bytes)
    if (answer !== 'incomplete') return answer
  }
  return 'incomplete'
}

test.for<{ what: string; bytes: Buffer; answer: Answer }>([
  { what: 'a HelloRetryRequest', bytes: record(22, retry), answer: 'retry' },
  { what: 'behind a warning', bytes: Buffer.concat([WARNING, record(22, retry)]), answer: 'retry' },
  {
    what: 'cut into records',
    bytes: Buffer.concat([record(22, retry.subarray(0, 5)), record(22, retry.subarray(5))]),
    answer: 'retry',
  },
  { what: 'a ServerHello', bytes: record(22, hello(Buffer.alloc(32, 7))), answer: 'other' },
  {
    what: 'a random that differs in its last byte',
    bytes: record(22, hello(Buffer.concat([RETRY_RANDOM.subarray(0, 31), Buffer.of(0)]))),
    answer: 'other',
  },
  { what: 'a fatal alert', bytes: record(21, 2, 40), answer: 'other' },
  { what: 'a warning and nothing behind it yet', bytes: WARNING, answer: 'incomplete' },
  { what: 'another handshake message', bytes: record(22, 11, 0, 0, 0), answer: 'other' },
  { what: 'application data', bytes: record(23, 1), answer: 'other' },
  { what: 'no TLS', bytes: Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), answer: 'other' },
])('$what: $answer, in one piece and byte by byte', ({ bytes, answer }) => {
  expect(judge([bytes])).toBe(answer)
  expect(judge([...bytes].map((byte) => Buffer.of(byte)))).toBe(answer)
})

test('an answer that never comes to its hello is not looked at for ever', () => {
  expect(judge(Array.from({ length: 3000 }, () => WARNING))).toBe('other')
})
