/** When the watch asks again, by a clock that the test moves; test/e2e/firewall drives the real thing. */
import { expect, test } from 'vitest'
import type { HostAddresses } from '../../src/firewall/look-up.ts'
import { watchHosts } from '../../src/firewall/watch.ts'
import { ManualClock } from '../support/manual-clock.ts'

const HOUR_MS = 3_600_000

function watching(
  answers: readonly HostAddresses[],
  portsNow: (nowMs: number) => readonly number[] = () => [443],
) {
  const clock = new ManualClock()
  const asked: number[] = []
  const [admitted, said]: [string[], string[]] = [[], []]
  const stop = watchHosts(
    {
      hosts: new Map([['cgr.dev', () => portsNow(clock.monotonicMs())]]),
      lookUp: async () => {
        asked.push(clock.monotonicMs())
        return answers[Math.min(asked.length, answers.length) - 1] ?? { kind: 'none', why: 'no answer left' }
      },
      admit: async (elements) => void admitted.push(...elements.map(({ address }) => address)),
      clock,
      graceMs: 1000,
      say: (text) => void said.push(text),
    },
    new Map(),
  )
  return { clock, asked, admitted, said, stop }
}

test('a family that could not be had is asked for again soon, and no TTL of the other is waited for', async () => {
  const half: HostAddresses = {
    kind: 'addresses',
    addresses: ['2001:db8::1'],
    lifeMs: HOUR_MS,
    lacking: 'A: the resolver did not answer in time',
  }
  const whole: HostAddresses = { kind: 'addresses', addresses: ['192.0.2.1', '2001:db8::1'], lifeMs: HOUR_MS }
  const { clock, asked, admitted, said, stop } = watching([half, half, whole])
  const start = clock.monotonicMs()
  await clock.advance(0)
  expect(admitted).toEqual(['2001:db8::1'])
  expect(said).toEqual(['cgr.dev: 2001:db8::1; A: the resolver did not answer in time'])
  for (let second = 0; second < 60; second += 1) await clock.advance(1000)
  expect(asked.map((ms) => ms - start)).toEqual([0, 1000, 3000])
  expect(said).toHaveLength(2)
  expect(admitted).toContain('192.0.2.1')
  // Whole, it holds for its TTL.
  await clock.advance(HOUR_MS)
  expect(asked).toHaveLength(4)
  stop()
})

test('a host whose rule expires is not asked for any more; and is again, should a rule allow it', async () => {
  const found: HostAddresses = { kind: 'addresses', addresses: ['192.0.2.1'], lifeMs: 60_000 }
  const { clock, asked, said, stop } = watching([found], (nowMs) =>
    nowMs < 100_000 || nowMs > 10 * HOUR_MS ? [443] : [],
  )
  await clock.advance(0)
  await clock.advance(9 * HOUR_MS)
  expect(asked).toEqual([0, 60_000])
  expect(said).toEqual(['cgr.dev: 192.0.2.1', expect.stringMatching(/no rule allows it any more/)])
  await clock.advance(2 * HOUR_MS)
  expect(asked.length).toBeGreaterThan(2)
  expect(said.at(-1)).toBe('cgr.dev: 192.0.2.1')
  stop()
  expect(clock.timers).toBe(0)
})
