/** Where a review goes: standard output, and the files that were asked for. */
import { writeFileSync } from 'node:fs'
import type { Config } from '../config/load.ts'
import { toCsv, toJson } from '../review/machine.ts'
import type { Review } from '../review/report.ts'
import { formatSuggestions, suggest } from '../review/suggest.ts'
import { formatTable } from '../review/table.ts'
import { wantsColor, type Io } from './io.ts'
import { whyUnreadable } from './read-config.ts'
import type { ReviewOptions, Wanted } from './review-options.ts'

export function printReview(
  review: Review,
  { json, csv }: ReviewOptions,
  { groupBy, limit }: Wanted,
  io: Io,
): void {
  if (json) io.stdout.write(`${toJson(review, groupBy)}\n`)
  else if (csv) io.stdout.write(toCsv(review, groupBy))
  else {
    const width = io.stdout.isTTY ? { width: Math.max(io.stdout.columns, 40) } : {}
    io.stdout.write(formatTable(review, { groupBy, limit, color: wantsColor(io.stdout), ...width }))
  }
}

/** Why one of the files could not be written; nothing when all is well. */
export function writeFiles(
  review: Review,
  options: ReviewOptions,
  config: Config,
  nowMs: number,
): string | undefined {
  const files: [string, () => string][] = []
  if (options.suggest !== undefined) {
    const context = { policy: config.policy, presets: config.presets, nowMs }
    files.push([options.suggest, () => formatSuggestions(suggest(review.groups, context), context)])
  }
  for (const [file, text] of files) {
    try {
      writeFileSync(file, text())
    } catch (error) {
      return `${file}: ${whyUnreadable(error)}`
    }
  }
  return undefined
}
