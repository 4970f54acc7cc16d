/** `sallyport review`: what was denied, why, since when and by whom. */
import { systemClock } from '../clock.ts'
import { Aggregate, DEFAULT_GROUPING } from '../review/aggregate.ts'
import { compileExpected } from '../review/expected.ts'
import { compileFilter } from '../review/filter.ts'
import { remember } from '../review/memory.ts'
import { toReview, type Review } from '../review/report.ts'
import { isIncomplete, notesOf } from '../review/words.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { LivePrinter } from './live-printer.ts'
import { whyUnreadable } from './read-config.ts'
import { closeFeeds, followFeeds, isFile, openFeeds, readFeeds } from './review-feeds.ts'
import { memoryFile, readMemory, writeMemory } from './review-memory.ts'
import { checkOptions, type ReviewOptions } from './review-options.ts'
import { findPrecious, printReview, writeFiles } from './review-outputs.ts'
import { readSources } from './review-sources.ts'

export type { ReviewOptions }

export async function review(files: readonly string[], options: ReviewOptions, io: Io): Promise<ExitCode> {
  const gone = new AbortController()
  // A reader that has seen enough, such as `head`, is no error; there is only nobody to write to any more.
  io.stdout.on('error', () => gone.abort())
  const code = await reviewUntil(gone, files, options, io)
  // A pipe takes what it has room for: the process must not end before the rest is through.
  await new Promise((resolve) => io.stdout.write('', resolve))
  return code
}

async function reviewUntil(
  gone: AbortController,
  files: readonly string[],
  options: ReviewOptions,
  io: Io,
): Promise<ExitCode> {
  const nowMs = systemClock.wallMs()
  const say = (text: string): boolean => io.stderr.write(`sallyport: ${text}\n`)
  const wanted = checkOptions(options, nowMs)
  if (typeof wanted === 'string') {
    say(wanted)
    return EXIT.usage
  }
  const sources = readSources(files, options, io)
  if (!sources) return EXIT.usage
  const precious = findPrecious(options, sources)
  if (precious !== undefined) {
    say(precious)
    return EXIT.usage
  }

  const { filter, groupBy } = wanted
  const aggregate = new Aggregate({
    sieve: compileFilter(filter),
    groupBy,
    wouldDeny: options.wouldDeny ?? false,
  })
  const expected = compileExpected(sources.expected, nowMs)
  const live = new LivePrinter(expected, options.json ?? false, (text) => io.stdout.write(text))
  const onDenial = options.follow ? live.take.bind(live) : undefined
  const feeds = await openFeeds(sources.names, aggregate, onDenial, io)
  if (feeds.length === 0) return EXIT.usage
  const place = memoryFile()
  // The memory knows groups by host, port and reason, and has no word on others.
  const comparable = groupBy === DEFAULT_GROUPING
  const memory = comparable ? readMemory(place) : undefined
  const conclude = (): Review =>
    toReview(aggregate, {
      ...(filter.since !== undefined && { since: filter.since }),
      ...(filter.until !== undefined && { until: filter.until }),
      expected,
      memory,
    })

  // What is there is read first; a pipe has no "there".
  let whole = await readFeeds(options.follow ? feeds.filter(isFile) : feeds, io)
  if (options.follow) {
    if (feeds.some(isFile) && !options.json) printReview(conclude(), options, wanted, io)
    live.start()
    whole = (await followFeeds(feeds, interrupted(gone), io)) && whole
    live.stop()
  }
  await closeFeeds(feeds)

  const result = conclude()
  if (!options.follow || !options.json) printReview(result, options, wanted, io)
  for (const note of notesOf(result)) say(note)
  const unwritten = writeFiles(result, options, sources, nowMs)
  if (unwritten !== undefined) {
    say(unwritten)
    return EXIT.usage
  }
  // What a filter hid was not seen; and a program that asks every minute must not use up what is news to people.
  const seen =
    Object.keys(filter).length === 0 && !options.json && !options.csv && options.failOn === undefined
  if (seen && comparable && options.memory) {
    try {
      writeMemory(place, remember(memory, result.groups, nowMs))
    } catch (error) {
      say(`this review is not remembered: ${place}: ${whyUnreadable(error)}`)
    }
  }
  if (options.failOn === 'new') {
    if (result.unexpected > 0) return EXIT.finding
    // Nothing to find is no proof that nothing was denied.
    if (aggregate.read === 0) {
      say('there is no record in this input, so --fail-on cannot tell whether anything was denied')
      return EXIT.incomplete
    }
  }
  return whole && feeds.length === sources.names.length && !isIncomplete(result) ? EXIT.ok : EXIT.incomplete
}

/** Ctrl-C ends a review that follows, with its last words. */
function interrupted(controller: AbortController): AbortSignal {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => controller.abort())
  return controller.signal
}
