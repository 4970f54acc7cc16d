/**
 * Denials that are known and meant to be: `--expected FILE`. Each entry says whose it is and, if wise, until when; a
 * denial that only an expired entry fits is news again.
 */
import { LineCounter, parseDocument } from 'yaml'
import { z } from 'zod'
import type { ConfigIssue } from '../config/issue.ts'
import { formatPath, locate } from '../config/locate.ts'
import { OUTCOMES } from '../policy/reasons.ts'
import { hostTest } from './filter.ts'

const words = () => z.string({ error: 'expected a text' }).min(1, { error: 'is empty' })
const entrySchema = z.strictObject({
  /** As recorded: a name or address, `*.x` for subdomains of x, or `*` with a reason. */
  host: words(),
  port: z.int({ error: 'expected a port number' }).min(1).max(65_535).optional(),
  reason: z
    .enum(Object.keys(OUTCOMES), { error: 'expected an outcome code such as `host_not_allowed`' })
    .optional(),
  owner: words(),
  ticket: words().optional(),
  /** The last day (UTC) on which it holds. */
  expires: z.iso
    .date({ error: 'expected a date such as `2027-01-31`, the last day on which it holds' })
    .optional(),
  note: words().optional(),
})
const fileSchema = z.preprocess(
  (value) => (Array.isArray(value) ? { expected: value } : value),
  z.strictObject(
    {
      expected: z.array(
        entrySchema.refine(({ host, reason }) => host !== '*' || reason !== undefined, {
          error: '`*` would expect every denial; say `reason`',
        }),
        { error: 'expected a list of `{ host: …, owner: … }`' },
      ),
    },
    {
      error: 'expected `expected:` with a list of `{ host: …, reason: …, owner: …, ticket: …, expires: … }`',
    },
  ),
)

export type ExpectedEntry = z.output<typeof entrySchema>

export type ExpectedResult =
  | { readonly ok: true; readonly entries: readonly ExpectedEntry[] }
  | { readonly ok: false; readonly issues: readonly ConfigIssue[] }

export function parseExpected(text: string, name: string): ExpectedResult {
  const lines = new LineCounter()
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false, stringKeys: true })
  const place = (offset: number) => {
    const { line, col } = lines.linePos(offset)
    return { line, column: col }
  }
  const faults = [...document.errors, ...document.warnings]
  if (faults.length > 0) {
    return {
      ok: false,
      issues: faults.map(({ pos, message }) => {
        const { line, column } = place(pos[0])
        return { source: name, line, column, path: '', message }
      }),
    }
  }
  // An empty file expects nothing.
  const written: unknown = document.toJS({ maxAliasCount: 0 }) ?? []
  const parsed = fileSchema.safeParse(written)
  if (parsed.success) return { ok: true, entries: parsed.data.expected }
  const bare = Array.isArray(written)
  return {
    ok: false,
    issues: parsed.error.issues.map(({ path, message, code }) => {
      const inFile = bare ? path.slice(1) : path
      const at = code === 'unrecognized_keys' ? 'key' : 'value'
      const { line, column } = place(locate(document, inFile, at))
      return { source: name, line, column, path: formatPath(inFile), message }
    }),
  }
}

export interface Asked {
  readonly host: string | null
  readonly port: number | null
  readonly reason: string | null
}

export type Expectation =
  | { readonly kind: 'unexpected' }
  | { readonly kind: 'expected'; readonly entry: ExpectedEntry }
  /** It was expected until its entry expired. */
  | { readonly kind: 'expired'; readonly entry: ExpectedEntry }

/** @param nowMs decides what has expired, the clock and not the time of the record: who reviews now decides now */
export function compileExpected(
  entries: readonly ExpectedEntry[],
  nowMs: number,
): (asked: Asked) => Expectation {
  const today = new Date(nowMs).toISOString().slice(0, 10)
  const tests = entries.map((entry) => ({ entry, host: hostTest(entry.host) }))
  return ({ host, port, reason }) => {
    let expired: ExpectedEntry | undefined
    for (const { entry, host: fits } of tests) {
      if (!fits(host)) continue
      if (entry.port !== undefined && entry.port !== port) continue
      if (entry.reason !== undefined && entry.reason !== reason) continue
      if (entry.expires === undefined || entry.expires >= today) return { kind: 'expected', entry }
      expired ??= entry
    }
    return expired ? { kind: 'expired', entry: expired } : { kind: 'unexpected' }
  }
}
