/** The inputs of a review, each with its own reader: read to their ends, or followed. */
import type { Aggregate } from '../review/aggregate.ts'
import type { Denial } from '../review/denial.ts'
import { LineSplitter } from '../review/line-splitter.ts'
import { RecordReader } from '../review/record-reader.ts'
import type { Io } from './io.ts'
import { showProgressBar } from './progress-bar.ts'
import { whyUnreadable } from './read-config.ts'
import { followFile } from './review-follow.ts'
import { openInput, type ReviewInput } from './review-input.ts'

export interface Feed {
  readonly input: ReviewInput
  readonly splitter: LineSplitter
}

/** Those that can be opened; of the others it is said why not. */
export async function openFeeds(
  names: readonly string[],
  aggregate: Aggregate,
  onDenial: ((denial: Denial) => void) | undefined,
  io: Io,
): Promise<readonly Feed[]> {
  const feeds: Feed[] = []
  for (const name of names) {
    try {
      const input = await openInput(name)
      feeds.push({ input, splitter: new LineSplitter(new RecordReader(aggregate.sink(onDenial))) })
    } catch (error) {
      io.stderr.write(`sallyport: ${name}: ${whyUnreadable(error)}\n`)
    }
  }
  return feeds
}

/** Whether all of them could be read to their ends. */
export async function readFeeds(feeds: readonly Feed[], io: Io): Promise<boolean> {
  const total = feeds.every(isFile) ? feeds.reduce((sum, { input }) => sum + (input.size ?? 0), 0) : undefined
  const bar = showProgressBar(io.stderr, total)
  let whole = true
  for (const { input, splitter } of feeds) {
    try {
      for await (const chunk of input.chunks((bytes) => bar.add(bytes))) splitter.push(chunk)
    } catch (error) {
      whole = false
      bar.stop()
      io.stderr.write(`sallyport: ${input.name}: ${whyUnreadable(error)}; read up to there\n`)
    }
  }
  bar.stop()
  return whole
}

/** Files grow until the signal; pipes end by themselves. */
export async function followFeeds(feeds: readonly Feed[], signal: AbortSignal, io: Io): Promise<boolean> {
  const stopped = new Promise<boolean>((resolve) => {
    if (signal.aborted) resolve(true)
    signal.addEventListener('abort', () => resolve(true), { once: true })
  })
  const ended = await Promise.all(
    feeds.map(async (feed) => {
      const { input, splitter } = feed
      if (!isFile(feed)) return Promise.race([readFeeds([feed], io), stopped])
      const { grows } = input
      if (grows) await followFile(input.name, grows, splitter, signal)
      return true
    }),
  )
  return ended.every(Boolean)
}

/** What was read so far is a review; what comes is to be shown. */
export function isFile({ input }: Feed): boolean {
  return input.size !== undefined
}

export async function closeFeeds(feeds: readonly Feed[]): Promise<void> {
  for (const { input, splitter } of feeds) {
    splitter.end()
    await input.close()
  }
}
