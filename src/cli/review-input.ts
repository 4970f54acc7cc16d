/** Opens what `sallyport review` reads: files, compressed or not, pipes and standard input. */
import { createReadStream } from 'node:fs'
import { open, type FileHandle } from 'node:fs/promises'
import { decompressed, decompressorFor } from '../audit/decompress.ts'

const CHUNK_BYTES = 1024 * 1024

export interface ReviewInput {
  /** As named on the command line; `-` is standard input. */
  readonly name: string
  /** Bytes on disk; unknown for pipes. */
  readonly size?: number
  /** A chunk may be reused for the next one. `onRead` hears how many bytes were read, before decompression. */
  readonly chunks: (onRead: (bytes: number) => void) => AsyncIterable<Buffer>
  /** A plain file that may be written to; `at` is how far it was read. */
  readonly grows?: { handle: FileHandle; at: number }
  readonly close: () => Promise<void>
}

/** Throws what the system says where it cannot be opened. */
export async function openInput(name: string): Promise<ReviewInput> {
  if (name === '-') {
    return {
      name,
      chunks: (onRead) => decompressed(counted(process.stdin, onRead)),
      close: () => Promise.resolve(),
    }
  }
  const handle = await open(name)
  const stats = await handle.stat()
  if (stats.isDirectory()) {
    await handle.close()
    throw Object.assign(new Error('a folder'), { code: 'EISDIR' })
  }
  const read = (options = {}): AsyncIterable<Buffer> =>
    createReadStream('', { fd: handle, autoClose: false, highWaterMark: CHUNK_BYTES, ...options })
  const close = (): Promise<void> => handle.close()
  if (!stats.isFile()) return { name, chunks: (onRead) => decompressed(counted(read(), onRead)), close }
  const start = Buffer.alloc(4)
  await handle.read(start, 0, start.length, 0)
  const { size } = stats
  if (decompressorFor(start)) {
    const again = (): AsyncIterable<Buffer> => read({ start: 0 })
    return { name, size, chunks: (onRead) => decompressed(counted(again(), onRead), again), close }
  }
  const grows = { handle, at: 0 }
  return {
    name,
    size,
    chunks: (onRead) => plainChunks(grows, onRead),
    grows,
    close: () => grows.handle.close(),
  }
}

/** Two buffers in turn: the next chunk is read while this one is looked at. */
async function* plainChunks(
  file: { readonly handle: FileHandle; at: number },
  onRead: (bytes: number) => void,
): AsyncGenerator<Buffer, void, undefined> {
  const readInto = async (buffer: Buffer): Promise<number> => {
    const { bytesRead } = await file.handle.read(buffer, 0, buffer.length, file.at)
    file.at += bytesRead
    return bytesRead
  }
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
