/** Makes inputs out of inputs. The same random numbers make the same ones. */
import { between, type Random } from '../support/random.ts'

const MAX_BYTES = 20_000
const INTERESTING = [0, 1, 9, 10, 13, 0x16, 0x20, 0x22, 0x25, 0x2a, 0x2e, 0x3a, 0x40, 0x7f, 0x80, 0xc0, 0xff]

/** One to six changes, each of a kind that parsers have been known to trip over. */
export function mutate(
  random: Random,
  input: Buffer,
  corpus: readonly Buffer[],
  dictionary: readonly Buffer[],
): Buffer {
  let bytes = input
  for (let left = between(random, 1, 6); left > 0; left -= 1)
    bytes = change(random, bytes, corpus, dictionary)
  return bytes.subarray(0, MAX_BYTES)
}

function change(
  random: Random,
  bytes: Buffer,
  corpus: readonly Buffer[],
  dictionary: readonly Buffer[],
): Buffer {
  const { length } = bytes
  const at = between(random, 0, length)
  const end = Math.min(length, at + between(random, 1, 16))
  const around = (middle: Buffer, from = at, to = at): Buffer =>
    Buffer.concat([bytes.subarray(0, from), middle, bytes.subarray(to)])
  const word = dictionary[between(random, 0, dictionary.length - 1)] ?? Buffer.alloc(0)
  switch (between(random, 0, 10)) {
    case 0:
      return around(Buffer.of(between(random, 0, 255)), at, Math.min(length, at + 1))
    case 1:
      return around(Buffer.of(INTERESTING[between(random, 0, INTERESTING.length - 1)] ?? 0))
    case 2:
      return around(Buffer.alloc(0), at, end)
    case 3:
      return around(word)
    case 4:
      return around(word, at, Math.min(length, at + word.length))
    case 5: {
      // One bit.
      const flipped = Buffer.from(bytes)
      if (at < length) flipped.writeUInt8(flipped.readUInt8(at) ^ (1 << between(random, 0, 7)), at)
      return flipped
    }
    case 6:
      return around(bytes.subarray(at, end))
    case 7: {
      // The start of this one, and the end of another.
      const other = corpus[between(random, 0, corpus.length - 1)] ?? bytes
      return Buffer.concat([bytes.subarray(0, at), other.subarray(between(random, 0, other.length))])
    }
    case 8:
      return bytes.subarray(0, at)
    case 9: {
      // Lengths are what lies most often: a 16-bit number more or less.
      if (at + 2 > length) return bytes
      const moved = Buffer.from(bytes)
      moved.writeUInt16BE((moved.readUInt16BE(at) + between(random, -2, 2) + 0x10000) & 0xffff, at)
      return moved
    }
    default: {
      const repeated = Array.from({ length: between(random, 2, 40) }, () => bytes.subarray(at, end))
      return around(Buffer.concat(repeated))
    }
  }
}

/** A shorter input that still fails, by leaving pieces out; never takes long. */
export async function shorten(
  input: Buffer,
  fails: (candidate: Buffer) => Promise<boolean>,
  tries = 2000,
): Promise<Buffer> {
  let bytes = input
  let left = tries
  for (let size = Math.ceil(bytes.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let at = 0; at < bytes.length && left > 0;) {
      left -= 1
      const candidate = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)])
      if (await fails(candidate)) bytes = candidate
      else at += size
    }
  }
  return bytes
}
