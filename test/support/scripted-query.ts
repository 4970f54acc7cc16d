import type { Query, QueryResult, RecordType } from '../../src/dns/query.ts'

export interface Asked {
  readonly name: string
  readonly type: RecordType
  /** Answers this question. */
  answer(result: QueryResult): void
}

/** Collects questions; each waits until the test answers it, or is answered at once by `reply`. */
export class ScriptedQuery {
  readonly asked: Asked[] = []
  reply: ((name: string, type: RecordType) => QueryResult | undefined) | undefined

  readonly query: Query = (name, type) =>
    new Promise((resolve) => {
      this.asked.push({ name, type, answer: resolve })
      const now = this.reply?.(name, type)
      if (now) resolve(now)
    })

  count(type: RecordType, name?: string): number {
    return this.asked.filter((one) => one.type === type && (name === undefined || one.name === name)).length
  }
}

export function answer(ttlSeconds: number, ...addresses: string[]): QueryResult {
  return { kind: 'answer', addresses, ttlSeconds }
}

export const NODATA: QueryResult = { kind: 'nodata', code: 'ENODATA' }
export const NXDOMAIN: QueryResult = { kind: 'nxdomain', code: 'ENOTFOUND' }
export const SERVFAIL: QueryResult = { kind: 'failed', code: 'ESERVFAIL' }
export const TIMEOUT: QueryResult = { kind: 'timeout', code: 'ETIMEOUT' }
