/** `sallyport review`: what was denied, why, since when and by whom. */
import { readFileSync } from 'node:fs'
import { systemClock } from '../clock.ts'
import { Aggregate } from '../review/aggregate.ts'
import { compileExpected, parseExpected, type ExpectedEntry } from '../review/expected.ts'
import { compileFilter } from '../review/filter.ts'
import { LineSplitter } from '../review/line-splitter.ts'
import { toCsv, toJson } from '../review/machine.ts'
import { remember } from '../review/memory.ts'
import { RecordReader } from '../review/record-reader.ts'
import { toReview, type Review } from '../review/report.ts'
import { formatTable } from '../review/table.ts'
import { isIncomplete, notesOf } from '../review/words.ts'
import { EXIT, wantsColor, type ExitCode, type Io } from './io.ts'
import { showProgressBar } from './progress-bar.ts'
import { printIssues, readConfig, whyUnreadable } from './read-config.ts'
import { openInput, type ReviewInput } from './review-input.ts'
import { memoryFile, readMemory, writeMemory } from './review-memory.ts'
import { checkOptions, type ReviewOptions, type Wanted } from './review-options.ts'

export type { ReviewOptions }

export async function review(files: readonly string[], options: ReviewOptions, io: Io): Promise<ExitCode> {
  const nowMs = systemClock.wallMs()
  const refuse = (problem: string): ExitCode => {
    io.stderr.write(`sallyport: ${problem}\n`)
    return EXIT.usage
  }
  const wanted = checkOptions(options, nowMs)
  if (typeof wanted === 'string') return refuse(wanted)
  const expected = readExpected(options.expected, io)
  if (!expected) return EXIT.usage
  const named = files.length > 0 ? files : configuredFile(options.config, io)
  if (!named) return EXIT.usage

  const aggregate = new Aggregate({
    sieve: compileFilter(wanted.filter),
    groupBy: wanted.groupBy,
    wouldDeny: options.wouldDeny ?? false,
  })
  const inputs = await openInputs(named, io)
  if (inputs.length === 0) return EXIT.usage
  const failed = await readInputs(inputs, aggregate, io)

  const place = memoryFile()
  const memory = readMemory(place)
  const { since, until } = wanted.filter
  const result = toReview(aggregate, {
    ...(since !== undefined && { since }),
    ...(until !== undefined && { until }),
    expected: compileExpected(expected, nowMs),
    memory,
  })
  print(result, options, wanted, io)
  for (const note of notesOf(result)) io.stderr.write(`sallyport: ${note}\n`)
  if (isForPeople(options) && isWhole(wanted) && options.memory) {
    try {
      writeMemory(place, remember(memory, result.groups, nowMs))
    } catch (error) {
      io.stderr.write(`sallyport: this review is not remembered: ${place}: ${whyUnreadable(error)}\n`)
    }
  }
  if (options.failOn === 'new' && result.unexpected > 0) return EXIT.finding
  return failed || inputs.length < named.length || isIncomplete(result) ? EXIT.incomplete : EXIT.ok
}

function print(result: Review, options: ReviewOptions, { groupBy, limit }: Wanted, io: Io): void {
  if (options.json) io.stdout.write(`${toJson(result, groupBy)}\n`)
  else if (options.csv) io.stdout.write(toCsv(result, groupBy))
  else {
    const width = io.stdout.isTTY ? { width: Math.max(io.stdout.columns, 40) } : {}
    io.stdout.write(formatTable(result, { groupBy, limit, color: wantsColor(io.stdout), ...width }))
  }
}

/** A program that asks every minute must not use up what is news to its people. */
function isForPeople({ json, csv, failOn }: ReviewOptions): boolean {
  return !json && !csv && failOn === undefined
}

/** Whether a review looked at everything: what a filter hid was not seen. */
function isWhole({ filter }: Wanted): boolean {
  return Object.keys(filter).length === 0
}

function readExpected(file: string | undefined, io: Io): readonly ExpectedEntry[] | undefined {
  if (file === undefined) return []
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    io.stderr.write(`sallyport: ${file}: ${whyUnreadable(error)}\n`)
    return undefined
  }
  const result = parseExpected(text, file)
  if (result.ok) return result.entries
  printIssues(result.issues, text, io)
  return undefined
}

/** The file that the configuration has records written to. */
function configuredFile(config: string | undefined, io: Io): readonly string[] | undefined {
  const read = readConfig(config)
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return undefined
  }
  const problem =
    read.kind === 'unreadable'
      ? read.message
      : `${read.file} writes no records to a file (audit.file); name the log, or - for standard input`
  if (read.kind === 'config' && read.config.audit.file) return [read.config.audit.file.path]
  io.stderr.write(`sallyport: ${problem}\n`)
  return undefined
}

async function openInputs(names: readonly string[], io: Io): Promise<readonly ReviewInput[]> {
  const inputs: ReviewInput[] = []
  for (const name of names) {
    try {
      inputs.push(await openInput(name))
    } catch (error) {
      io.stderr.write(`sallyport: ${name}: ${whyUnreadable(error)}\n`)
    }
  }
  return inputs
}

/** Whether one of them could not be read to its end. */
async function readInputs(inputs: readonly ReviewInput[], aggregate: Aggregate, io: Io): Promise<boolean> {
  const known = inputs.every(({ size }) => size !== undefined)
  const total = inputs.reduce((sum, { size }) => sum + (size ?? 0), 0)
  const bar = showProgressBar(io.stderr, known ? total : undefined)
  let failed = false
  for (const input of inputs) {
    const splitter = new LineSplitter(new RecordReader(aggregate.sink()))
    try {
      for await (const chunk of input.chunks((bytes) => bar.add(bytes))) splitter.push(chunk)
    } catch (error) {
      failed = true
      bar.stop()
      io.stderr.write(`sallyport: ${input.name}: ${whyUnreadable(error)}; read up to there\n`)
    } finally {
      await input.handle?.close()
    }
    splitter.end()
  }
  bar.stop()
  return failed
}
