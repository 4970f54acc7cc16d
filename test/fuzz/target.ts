/** What a fuzz target is, and what they share. */

export interface FuzzTarget {
  readonly name: string
  readonly seeds: readonly Buffer[]
  readonly dictionary: readonly Buffer[]
  check(input: Buffer): string | Promise<string>
}

export const texts = (...list: readonly string[]): Buffer[] => list.map((text) => Buffer.from(text, 'latin1'))

/** The same bytes in segments whose sizes follow from the bytes themselves, so that an input is all there is to repeat. */
export function segments(bytes: Buffer): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 1; at < bytes.length; turn += 1) {
    const size = 1 + (((bytes[at] ?? 0) * 7 + turn * 13) % 61)
    pieces.push(bytes.subarray(at, at + size))
    at += size
  }
  return pieces
}
