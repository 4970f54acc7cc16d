/** The line that a long read shows on a terminal. */
import { expect, test } from 'vitest'
import { progressLine } from '../../src/cli/progress-bar.ts'

test.each([
  [250e6, 1e9, 1, '████████░░░░░░░░░░░░░░░░░░░░░░ 25 % of 1000 MB, 250 MB/s, 3 s left'],
  [1e9, 1e9, 4, '██████████████████████████████ 100 % of 1000 MB, 250 MB/s, 0 s left'],
  // A file that grew while it was read.
  [2e9, 1e9, 4, '██████████████████████████████ 100 % of 1000 MB, 500 MB/s, 0 s left'],
  [5e6, undefined, 0.5, 'reading, 5 MB, 10 MB/s'],
])('%d of %d bytes after %d s', (done, total, seconds, line) => {
  expect(progressLine(done, total, seconds)).toBe(line)
})
