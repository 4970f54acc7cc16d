/** Keeps what the last review showed, in the state folder of the user (XDG Base Directory). */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join } from 'node:path'
import { parseMemory, type Memory } from '../review/memory.ts'

export function memoryFile(environment: NodeJS.ProcessEnv = process.env): string {
  const set = environment['XDG_STATE_HOME']
  // The specification has relative paths ignored.
  const base = set !== undefined && isAbsolute(set) ? set : join(homedir(), '.local/state')
  return join(base, 'sallyport/review.json')
}

/** Nothing where there was no review yet, or its file cannot be read: then everything is new. */
export function readMemory(file: string): Memory | undefined {
  try {
    return parseMemory(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
}

/** Whole or not at all: a second review may read it at any moment. */
export function writeMemory(file: string, memory: Memory): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
  const draft = `${file}.${process.pid}`
  writeFileSync(draft, `${JSON.stringify(memory)}\n`, { mode: 0o600 })
  renameSync(draft, file)
}
