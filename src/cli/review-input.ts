/** Opens what `sallyport review` reads: files, compressed or not, pipes and standard input. */
import { createReadStream } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { decompressed, decompressorFor } from '../review/decompress.ts'

const CHUNK_BYTES = 1024 * 1024

export interface ReviewInput {
  /** As named on the command line; `-` is standard input. */
  readonly name: string
  /** Bytes on disk; unknown for pipes. */
  readonly size?: number
  /** A chunk may be reused for the next one. `onRead` hears how many bytes were read, before decompression. */
  readonly chunks: (onRead: (bytes: number) => void) => AsyncIterable<Buffer>
  readonly handle?: FileHandle
}

/** Throws what the system says where it cannot be opened. */
export async function openInput(name: string): Promise<ReviewInput> {
  if (name === '-') return { name, chunks: (onRead) => decompressed(counted(process.stdin, onRead)) }
  const handle = await open(name)
  const stats = await handle.stat()
  if (stats.isDirectory()) {
    await handle.close()
    throw Object.assign(new Error('a folder'), { code: 'EISDIR' })
  }
  if (!stats.isFile()) {
    return {
      name,
      handle,
      chunks: (onRead) =>
        decompressed(counted(createReadStream('', { fd: handle, autoClose: false }), onRead)),
    }
  }
  const start = Buffer.alloc(4)
  await handle.read(start, 0, start.length, 0)
  const chunks = (onRead: (bytes: number) => void): AsyncIterable<Buffer> =>
    decompressorFor(start)
      ? decompressed(
          counted(
            createReadStream('', { fd: handle, autoClose: false, start: 0, highWaterMark: CHUNK_BYTES }),
            onRead,
          ),
        )
      : plainChunks(handle, onRead)
  return { name, size: stats.size, handle, chunks }
}

/** Two buffers in turn: the next chunk is read while this one is looked at. */
async function* plainChunks(
  handle: FileHandle,
  onRead: (bytes: number) => void,
): AsyncGenerator<Buffer, void, undefined> {
  let at = 0
  const readInto = (buffer: Buffer): Promise<number> =>
    handle.read(buffer, 0, buffer.length, at).then(({ bytesRead }) => {
      at += bytesRead
      return bytesRead
    })
  let current = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  let spare = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  let bytes = await readInto(current)
  while (bytes > 0) {
    const next = readInto(spare)
    onRead(bytes)
    yield current.subarray(0, bytes)
    bytes = await next
    ;[current, spare] = [spare, current]
  }
}

async function* counted(
  chunks: AsyncIterable<Buffer>,
  onRead: (bytes: number) => void,
): AsyncGenerator<Buffer, void, undefined> {
  for await (const chunk of chunks) {
    onRead(chunk.length)
    yield chunk
  }
}
