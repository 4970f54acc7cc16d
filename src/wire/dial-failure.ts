import type { DialFailure } from './types.ts'

const FAILURES: ReadonlyMap<string, DialFailure> = new Map([
  ['ECONNREFUSED', 'refused'],
  ['ECONNRESET', 'refused'],
  ['ENETUNREACH', 'unreachable'],
  ['EHOSTUNREACH', 'unreachable'],
  ['EADDRNOTAVAIL', 'unreachable'],
  ['EAFNOSUPPORT', 'unreachable'],
  ['EACCES', 'unreachable'],
  ['EPERM', 'unreachable'],
  ['ENETDOWN', 'unreachable'],
  ['EHOSTDOWN', 'unreachable'],
  ['ETIMEDOUT', 'timeout'],
])

/** What an errno of connect(2) means to somebody who wanted to get through. */
export function dialFailure(code: string | undefined): DialFailure {
  return FAILURES.get(code ?? '') ?? 'other'
}
