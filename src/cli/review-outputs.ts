/** Where a review goes: standard output, and the files that were asked for. */
import { readAssets } from '../review/html/assets.ts'
import { toHtml } from '../review/html/page.ts'
import { toCsv, toJson } from '../review/machine.ts'
import type { Review } from '../review/report.ts'
import { formatSuggestions, suggest } from '../review/suggest.ts'
import { formatTable } from '../review/table.ts'
import { wantsColor, type Io } from './io.ts'
import { isSameFile, replaceFile } from './replace-file.ts'
import { whyUnreadable } from './read-config.ts'
import { filterWords, type ReviewOptions, type Wanted } from './review-options.ts'
import type { Sources } from './review-sources.ts'

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

/** Why one of the files must not be written: it would replace what the review is about. */
export function findPrecious({ html, suggest }: ReviewOptions, { read }: Sources): string | undefined {
  for (const [option, file, taken] of [
    ['--html', html, read],
    ['--suggest', suggest, [...read, html]],
  ] as const) {
    if (file === undefined) continue
    const same = taken.find((name) => name !== undefined && name !== '-' && isSameFile(file, name))
    if (same !== undefined) return `${option} ${file} would be written over ${same}; choose another name`
  }
  return undefined
}

/** Why one of the files could not be written; nothing when all is well. */
export function writeFiles(
  review: Review,
  options: ReviewOptions,
  { names, config }: Sources,
  nowMs: number,
): string | undefined {
  const files: [string, () => string][] = []
  if (options.suggest !== undefined) {
    const context = { policy: config.policy, rules: config.clients.rules, presets: config.presets, nowMs }
    files.push([options.suggest, () => formatSuggestions(suggest(review.groups, context), context)])
  }
  if (options.html !== undefined) {
    const context = { nowMs, inputs: names, only: filterWords(options), assets: readAssets() }
    files.push([options.html, () => toHtml(review, context)])
  }
  for (const [file, text] of files) {
    try {
      replaceFile(file, text())
    } catch (error) {
      return `${file}: ${whyUnreadable(error)}`
    }
  }
  return undefined
}
