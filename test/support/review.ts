/** Reviews bytes without a file. */
import { Aggregate, type AggregateOptions } from '../../src/review/aggregate.ts'
import { compileExpected } from '../../src/review/expected.ts'
import { compileFilter, type Filter } from '../../src/review/filter.ts'
import { LineSplitter } from '../../src/review/line-splitter.ts'
import { RecordReader } from '../../src/review/record-reader.ts'
import { toReview, type Review } from '../../src/review/report.ts'

export interface ReviewedOptions extends Partial<AggregateOptions> {
  readonly filter?: Filter
  /** Bytes in each chunk. */
  readonly chunk?: number
}

export function aggregated(inputs: readonly (string | Buffer)[], options: ReviewedOptions = {}): Aggregate {
  const aggregate = new Aggregate({ sieve: compileFilter(options.filter ?? {}), ...options })
  for (const input of inputs) {
    const bytes = Buffer.from(input)
    const splitter = new LineSplitter(new RecordReader(aggregate.sink()))
    const size = options.chunk ?? bytes.length
    for (let at = 0; at < bytes.length; at += size) splitter.push(Buffer.from(bytes.subarray(at, at + size)))
    splitter.end()
  }
  return aggregate
}

export function reviewed(inputs: readonly (string | Buffer)[], options: ReviewedOptions = {}): Review {
  return toReview(aggregated(inputs, options), {
    expected: compileExpected([], 0),
    memory: undefined,
  })
}
