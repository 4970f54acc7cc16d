/** Where the chain goes on when the audit file itself holds no record: behind the file that it was rotated to. */
import { open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, extname, join } from 'node:path'
import { decompressorFor } from './decompress.ts'
import { readTail } from './file-tail.ts'
import { formerFiles, timeOfFormer } from './former-files.ts'
import { hashLine } from './hash-line.ts'
import { readLines } from './read-lines.ts'

export interface FormerHead {
  /** The former file. */
  readonly file: string
  /** Hash of its last whole line. */
  readonly head: string
}

/**
 * The newest former file that holds a line, compressed or not. Nothing where there is none; throws for one that cannot
 * be read to its end, with its name in front.
 */
export async function findFormerHead(path: string): Promise<FormerHead | undefined> {
  for (const file of await newestFirst(path)) {
    try {
      const last = await readLast(file)
      if (last) return { file, head: hashLine(last) }
    } catch (error) {
      throw new Error(`${file}: ${error instanceof Error ? error.message : String(error)}`, { cause: error })
    }
  }
  return undefined
}

/** Files of our own rotation by their names; by their age what logrotate leaves: `audit.ndjson.1`, `audit-20261124.ndjson.gz`. */
async function newestFirst(path: string): Promise<readonly string[]> {
  const folder = dirname(path)
  const names = await readdir(folder)
  const found = formerFiles(path, names).map((name) => ({ name, timeMs: timeOfFormer(path, name) }))
  const extension = extname(path)
  const stem = basename(path, extension)
  for (const name of names) {
    const rest = name.startsWith(stem) ? name.slice(stem.length).replace(extension, '') : ''
    if (!/^[.-][0-9-]+(?:\.gz|\.zst)?$/.test(rest)) continue
    found.push({ name, timeMs: (await stat(join(folder, name))).mtimeMs })
  }
  return found.toSorted((a, b) => b.timeMs - a.timeMs).map(({ name }) => join(folder, name))
}

async function readLast(file: string): Promise<Buffer | undefined> {
  const handle = await open(file)
  try {
    const start = Buffer.alloc(4)
    await handle.read(start, 0, start.length, 0)
    if (!decompressorFor(start)) return readTail(handle.fd, (await handle.stat()).size).whole
  } finally {
    await handle.close()
  }
  let last: Buffer | undefined
  // Half a line at the end is no record, and the chain went on from the one before.
  for await (const lines of readLines(file)) last = lines.findLast(({ ended }) => ended)?.bytes ?? last
  return last
}
