/** Reads what compressed logs hold, plain ones as they are. The first bytes tell, since names lie. */
import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

const CHUNK_BYTES = 1024 * 1024
/** What zlib gets at a time: with a damage in it, it hands out nothing of what it has decoded of that. */
const SLICE_BYTES = 16 * 1024

/** gzip, also of several members, or zstd; undefined for anything else. */
export function decompressorFor(start: Buffer) {
  if (start[0] === 0x1f && start[1] === 0x8b) return createGunzip({ chunkSize: CHUNK_BYTES })
  if (start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd)
    return createZstdDecompress({ chunkSize: CHUNK_BYTES })
  return undefined
}

/**
 * The chunks of a stream, decompressed where its first bytes say so. Throws zlib's error for damage, behind all that
 * stands before the damage.
 *
 * @param again reads the stream once more from its start; without it what the {@link SLICE_BYTES} around a damage hold is lost
 */
export async function* decompressed(
  chunks: AsyncIterable<Buffer>,
  again?: () => AsyncIterable<Buffer>,
): AsyncGenerator<Buffer, void, undefined> {
  const source = chunks[Symbol.asyncIterator]()
  const first = await source.next()
  if (first.done) return
  const whole = (async function* () {
    yield first.value
    for (let next = await source.next(); !next.done; next = await source.next()) yield next.value
  })()
  const decompressor = decompressorFor(first.value)
  if (!decompressor) {
    yield* whole
    return
  }
  let given = 0
  try {
    for await (const chunk of through(decompressor, sliced(whole))) {
      given += chunk.length
      yield chunk
    }
  } catch (error) {
    const rescuer = again && decompressorFor(first.value)
    if (rescuer) yield* rescue(through(rescuer, bytewise(again(), decompressor.bytesWritten)), given)
    throw error
  }
}

async function* sliced(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks)
    for (let at = 0; at < chunk.length; at += SLICE_BYTES) yield chunk.subarray(at, at + SLICE_BYTES)
}

/** What zlib had decoded and not yet handed out when it met the damage: fed byte by byte, it hands out all of it. */
async function* rescue(
  chunks: AsyncIterable<Buffer>,
  given: number,
): AsyncGenerator<Buffer, void, undefined> {
  let at = 0
  try {
    for await (const chunk of chunks) {
      const known = Math.min(Math.max(given - at, 0), chunk.length)
      at += chunk.length
      if (known < chunk.length) yield chunk.subarray(known)
    }
  } catch {
    // The same damage.
  }
}

async function* bytewise(
  chunks: AsyncIterable<Buffer>,
  from: number,
): AsyncGenerator<Buffer, void, undefined> {
  let at = 0
  for await (const chunk of chunks) {
    const whole = Math.min(Math.max(from - at, 0), chunk.length)
    at += chunk.length
    if (whole > 0) yield chunk.subarray(0, whole)
    for (let byte = whole; byte < chunk.length; byte += 1) yield chunk.subarray(byte, byte + 1)
  }
}

function through(
  decompressor: NonNullable<ReturnType<typeof decompressorFor>>,
  chunks: AsyncIterable<Buffer>,
): AsyncIterable<Buffer> {
  const input = Readable.from(chunks, { objectMode: false })
  input.on('error', (error) => decompressor.destroy(error))
  return input.pipe(decompressor)
}
