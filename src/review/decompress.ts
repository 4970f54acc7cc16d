/** Reads what compressed logs hold. The first bytes tell, since names lie. */
import { Readable } from 'node:stream'
import { createGunzip, createZstdDecompress } from 'node:zlib'

const CHUNK_BYTES = 1024 * 1024

/** gzip, also of several members, or zstd; undefined for anything else. */
export function decompressorFor(start: Buffer) {
  if (start[0] === 0x1f && start[1] === 0x8b) return createGunzip({ chunkSize: CHUNK_BYTES })
  if (start[0] === 0x28 && start[1] === 0xb5 && start[2] === 0x2f && start[3] === 0xfd)
    return createZstdDecompress({ chunkSize: CHUNK_BYTES })
  return undefined
}

/** The chunks of a stream, decompressed where its first bytes say so. */
export async function* decompressed(chunks: AsyncIterable<Buffer>): AsyncGenerator<Buffer, void, undefined> {
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
  const input = Readable.from(whole, { objectMode: false })
  input.on('error', (error) => decompressor.destroy(error))
  yield* input.pipe(decompressor)
}
