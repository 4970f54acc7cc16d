/** What listeners and dials have in common. */
import type { Libc } from './libc.ts'

const optionValue = new Int32Array(1)

export function setOption(libc: Libc, fd: number, level: number, name: number, value: number): void {
  optionValue[0] = value
  libc.setsockopt(fd, level, name, optionValue, optionValue.byteLength)
}

/** The system's error of the call that has just failed, with its errno's name as `code`. */
export function systemError(libc: Libc, call: string): Error {
  const code = libc.errnoName(libc.errno())
  return Object.assign(new Error(`${call}: ${code}`), { code })
}

export function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}
