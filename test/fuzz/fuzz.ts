/** The mutation fuzzer: feeds a target, keeps what is judged in a new way, stops at the first thing that does not hold. */
import { between, seededRandom } from '../support/random.ts'
import { mutate, shorten } from './mutate.ts'
import type { FuzzTarget } from './target.ts'

export interface FuzzReport {
  readonly inputs: number
  /** How many ways of being judged were seen. */
  readonly verdicts: number
  readonly failure?: { readonly input: Buffer; readonly error: Error }
}

export interface FuzzOptions {
  readonly seed: number
  /** Asked before each input. */
  readonly enough: (inputs: number) => boolean
  readonly onProgress?: (inputs: number, verdicts: number) => void
}

/** Longer than any of these parsers needs by orders of magnitude: what takes longer does not end. */
const HANG_MS = 5000
/** Enough for every way of being judged; then newcomers replace old ones. */
const MAX_CORPUS = 4000
const TURN = 256

export async function fuzz(
  target: FuzzTarget,
  { seed, enough, onProgress }: FuzzOptions,
): Promise<FuzzReport> {
  const random = seededRandom(seed)
  const corpus = [...target.seeds]
  const verdicts = new Set<string>()
  let inputs = 0
  for (; !enough(inputs); inputs += 1) {
    const input =
      inputs < target.seeds.length
        ? (target.seeds[inputs] ?? Buffer.alloc(0))
        : mutate(
            random,
            corpus[between(random, 0, corpus.length - 1)] ?? Buffer.alloc(0),
            corpus,
            target.dictionary,
          )
    const error = await failureOf(target, input, (verdict) => {
      if (verdicts.has(verdict)) return
      verdicts.add(verdict)
      if (corpus.length < MAX_CORPUS) corpus.push(input)
      else corpus[between(random, target.seeds.length, corpus.length - 1)] = input
    })
    if (error) {
      const short = await shorten(
        input,
        async (candidate) => (await failureOf(target, candidate))?.message === error.message,
      )
      return { inputs: inputs + 1, verdicts: verdicts.size, failure: { input: short, error } }
    }
    if (inputs % TURN === 0) {
      onProgress?.(inputs, verdicts.size)
      await new Promise((resolve) => {
        setImmediate(resolve)
      })
    }
  }
  return { inputs, verdicts: verdicts.size }
}

/** What does not hold for this input. */
export async function failureOf(
  target: FuzzTarget,
  input: Buffer,
  onVerdict: (verdict: string) => void = () => undefined,
): Promise<Error | undefined> {
  const startMs = performance.now()
  try {
    onVerdict(await target.check(input))
    const took = performance.now() - startMs
    return took > HANG_MS ? new Error(`took ${Math.round(took)} ms`) : undefined
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error))
  }
}
