/** One denial as it comes, for `--follow`. */
import { printable, printableAsIs } from '../doctor/printable.ts'
import type { Denial } from './denial.ts'
import type { Expectation } from './expected.ts'
import { formatCount, iso } from './words.ts'

export function formatLive(denial: Denial, expectation: Expectation): string {
  const { host, port, reason, client, user, node, hint, count, last } = denial
  const target = printableAsIs(`${host ?? '-'}${port === null ? '' : `:${port}`}`)
  const who = [user, client, node].filter((part) => part !== null).map((part) => printable(part, 64))
  return [
    iso(last).slice(0, 19).replace('T', ' '),
    target,
    printable(reason, 40),
    ...(count > 1 ? [`${formatCount(count)} times`] : []),
    `(${who.join(', ')})`,
    ...(hint === null ? [] : [printable(hint)]),
    ...(expectation.kind === 'unexpected' ? [] : [expectation.kind]),
  ].join('  ')
}

export function toLiveJson(denial: Denial, expectation: Expectation): string {
  const { first, last, ...rest } = denial
  return JSON.stringify({
    first: iso(first),
    last: iso(last),
    ...rest,
    expected: expectation.kind === 'expected',
  })
}
