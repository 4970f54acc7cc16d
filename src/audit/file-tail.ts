/** How an audit file ends: where its chain goes on, and what a crash has left of its last line. */
import { closeSync, constants, fstatSync, ftruncateSync, openSync, readSync, writeSync } from 'node:fs'
import { hashLine } from './hash-line.ts'

export interface OpenedFile {
  readonly fd: number
  /** Bytes that are in it. */
  readonly size: number
  /** When its first record was written; `undefined` for an empty file. */
  readonly bornMs?: number
  /** Hash of its last line; `undefined` for a file without one: `findFormerHead` says where its chain goes on. */
  readonly head?: string
  /** The beginning of a record that was never finished; it is no longer in the file. */
  readonly torn?: Torn
}

export interface Torn {
  readonly bytes: number
  /** What was there, bounded. */
  readonly text: string
}

const FLAGS = constants.O_RDWR | constants.O_APPEND | constants.O_CREAT
const NEWLINE = 10
const CHUNK_BYTES = 64 * 1024
/** No record is as long: a file whose last line is longer is none of ours, and is left alone. */
const MAX_LINE_BYTES = 1024 * 1024
const MAX_TORN_TEXT = 4096

/**
 * Opens the file to append to it, and mends its end. Half a record is taken out, so that every line of the file is one;
 * the caller has to put on record what it was. One that lacks nothing but its newline gets it.
 */
export function openAuditFile(path: string): OpenedFile {
  const fd = openSync(path, FLAGS, 0o640)
  try {
    return mend(fd)
  } catch (error) {
    closeSync(fd)
    throw error
  }
}

function mend(fd: number): OpenedFile {
  const { size, mtimeMs } = fstatSync(fd)
  const { whole, rest } = readTail(fd, size)
  const facts = whole && { bornMs: readBirth(fd) ?? mtimeMs, head: hashLine(whole) }
  if (rest === undefined) return { fd, size, ...facts }
  if (rest.length === 0) {
    writeSync(fd, '\n')
    return { fd, size: size + 1, ...facts }
  }
  ftruncateSync(fd, size - rest.length)
  const torn = { bytes: rest.length, text: rest.toString('utf8', 0, MAX_TORN_TEXT) }
  return { fd, size: size - rest.length, torn, ...facts }
}

export interface Tail {
  /** The last whole line, without its newline; nothing where there is none. */
  readonly whole?: Buffer
  /** What stands behind it without a newline. Empty: the line is whole and lacks nothing but that. */
  readonly rest?: Buffer
}

/** How a file of that many bytes ends. */
export function readTail(fd: number, size: number): Tail {
  if (size === 0) return {}
  const last = readBack(fd, size)
  if (last.at(-1) === NEWLINE) return { whole: last.subarray(0, -1) }
  if (isJson(last)) return { whole: last, rest: Buffer.alloc(0) }
  const end = size - last.length
  return { ...(end > 0 && { whole: readBack(fd, end).subarray(0, -1) }), rest: last }
}

/** The last line that ends at `end`, with its newline if it has one. */
function readBack(fd: number, end: number): Buffer {
  let line: Buffer = Buffer.alloc(0)
  for (let start = end; start > 0 && line.length <= MAX_LINE_BYTES;) {
    const from = Math.max(0, start - CHUNK_BYTES)
    line = Buffer.concat([readAt(fd, from, start - from), line])
    // The newline at its very end is its own.
    const before = line.lastIndexOf(NEWLINE, line.length - 2)
    if (before !== -1 && line.length > 1) return line.subarray(before + 1)
    start = from
  }
  if (line.length > MAX_LINE_BYTES) throw new Error('its last line is too long to be an audit record')
  return line
}

/** `@timestamp` of the first record. */
function readBirth(fd: number): number | undefined {
  const [, stamp] = /"@timestamp":"([^"]+)"/.exec(readAt(fd, 0, 4096).toString('latin1')) ?? []
  const ms = stamp === undefined ? Number.NaN : Date.parse(stamp)
  return Number.isNaN(ms) ? undefined : ms
}

function readAt(fd: number, from: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  let read = 0
  while (read < length) {
    const count = readSync(fd, bytes, read, length - read, from + read)
    if (count === 0) break
    read += count
  }
  return bytes.subarray(0, read)
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString('utf8'))
    return true
  } catch {
    return false
  }
}
