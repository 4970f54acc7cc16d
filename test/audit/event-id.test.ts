import { describe, expect, test } from 'vitest'
import { createEventIds } from '../../src/audit/event-id.ts'

const CROCKFORD = /^[0-9A-HJKMNP-TV-Z]{26}$/

test('an id is 26 characters of Crockford base 32', () => {
  const next = createEventIds(() => 1_469_918_176_385)
  for (let i = 0; i < 100; i += 1) expect(next()).toMatch(CROCKFORD)
})

test.each([
  // The example of the ULID specification.
  [1_469_918_176_385, '01ARYZ6S41'],
  [0, '0000000000'],
  [31, '000000000Z'],
  [32, '0000000010'],
  [2 ** 48 - 1, '7ZZZZZZZZZ'],
])('it starts with the time: %i is %s', (ms, text) => {
  expect(createEventIds(() => ms)().slice(0, 10)).toBe(text)
})

describe('ids sort in the order they were made', () => {
  test.each<[string, (call: number) => number]>([
    ['within one millisecond', () => 1_700_000_000_000],
    ['over many', (call) => 1_700_000_000_000 + call * 7],
    ['over a boundary of the encoding', (call) => 32 ** 5 - 5000 + call],
    ['while the clock is set back', (call) => 1_700_000_000_000 - call * 1000],
    ['while the clock jumps about', (call) => 1_700_000_000_000 + ((call * 7919) % 1000)],
  ])('%s', (_what, clock) => {
    let calls = 0
    const next = createEventIds(() => clock(calls))
    const ids: string[] = []
    for (; calls < 10_000; calls += 1) ids.push(next())
    expect(new Set(ids).size).toBe(ids.length)
    expect(ids.toSorted()).toEqual(ids)
  })
})

test('two processes that start in the same millisecond make different ids', () => {
  const now = () => 1_700_000_000_000
  const first = Array.from({ length: 50 }, () => createEventIds(now)())
  expect(new Set(first).size).toBe(50)
  expect(new Set(first.map((id) => id.slice(0, 10))).size).toBe(1)
})

test('an id tells nothing about the next: each millisecond has chance of its own', () => {
  let ms = 1_700_000_000_000
  const next = createEventIds(() => (ms += 1))
  const tails = Array.from({ length: 50 }, () => next().slice(10))
  expect(new Set(tails.map((tail) => tail.slice(0, 8))).size).toBe(50)
})
