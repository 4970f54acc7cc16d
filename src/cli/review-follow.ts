/** `sallyport review -f`: goes on with each denial as it comes, also when the file is rotated away or cut. */
import { open, stat, type FileHandle } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import type { LineSplitter } from '../review/line-splitter.ts'

const POLL_MS = 200
const CHUNK_BYTES = 256 * 1024

/** Goes on where the file was read up to, until the signal. */
export async function followFile(
  path: string,
  file: { handle: FileHandle; at: number },
  splitter: LineSplitter,
  signal: AbortSignal,
): Promise<void> {
  const buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES)
  const drain = async (): Promise<void> => {
    for (;;) {
      const { bytesRead } = await file.handle.read(buffer, 0, buffer.length, file.at)
      if (bytesRead === 0) return
      file.at += bytesRead
      splitter.push(buffer.subarray(0, bytesRead))
    }
  }
  while (!signal.aborted) {
    await drain()
    const successor = await openSuccessor(path, file.handle)
    if (successor) {
      // What was written between the last look and the rename.
      await drain()
      splitter.end()
      await file.handle.close()
      file.handle = successor
      file.at = 0
    } else if ((await file.handle.stat()).size < file.at) {
      // Cut where it stands (copytruncate): it begins anew.
      splitter.end()
      file.at = 0
    } else await pause(POLL_MS, undefined, { signal }).catch(() => undefined)
  }
  await drain()
}

/** The file that now has the name, where that is another one. */
async function openSuccessor(path: string, current: FileHandle): Promise<FileHandle | undefined> {
  const [named, held] = await Promise.all([stat(path).catch(() => undefined), current.stat()])
  if (!named || (named.ino === held.ino && named.dev === held.dev)) return undefined
  return open(path).catch(() => undefined)
}
