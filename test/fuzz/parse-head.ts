import { HeadParser, type HeadResult } from '../../src/proxy/head.ts'

/** The verdict on these segments; what was not looked at any more counts as bytes behind the head. */
export function parseHead(pieces: readonly Buffer[], forward = false): HeadResult {
  const parser = new HeadParser(forward)
  for (const [index, piece] of pieces.entries()) {
    if (piece.length === 0) continue
    const result = parser.push(piece)
    if (result.kind === 'connect' || result.kind === 'absolute') {
      return { ...result, rest: Buffer.concat([result.rest, ...pieces.slice(index + 1)]) }
    }
    if (result.kind === 'refused') return result
  }
  return { kind: 'incomplete' }
}
