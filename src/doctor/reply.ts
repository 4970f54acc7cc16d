/** Reading what a proxy or a host answered. Lenient, since it is there to show what others send. Pure. */
import { outcome, OUTCOMES, type OutcomeCode } from '../policy/reasons.ts'
import { printable } from './printable.ts'

export interface ReplyHead {
  readonly statusLine: string
  readonly status: number
  /** By lower-case name; the first of each, but every challenge: a proxy may send a field for each scheme. */
  readonly fields: ReadonlyMap<string, string>
}

/** @param head everything before the blank line, one character for each byte; `undefined` when it is not HTTP/1 */
export function parseReplyHead(head: string): ReplyHead | undefined {
  const [statusLine = '', ...lines] = head.split(/\r?\n/)
  const status = /^HTTP\/1\.[0-9] ([1-5][0-9]{2})(?: |$)/.exec(statusLine)?.[1]
  if (status === undefined) return undefined
  const fields = new Map<string, string>()
  for (const line of lines) {
    const colon = line.indexOf(':')
    if (colon < 1) continue
    const name = line.slice(0, colon).trim().toLowerCase()
    const value = line.slice(colon + 1).trim()
    const known = fields.get(name)
    if (known === undefined) fields.set(name, value)
    // RFC 9110 §5.3.
    else if (name === 'proxy-authenticate') fields.set(name, `${known}, ${value}`)
  }
  return { statusLine: printable(statusLine, 240), status: Number(status), fields }
}

/** The fields that are there, as they may be shown, under names of our own. */
export function shownFields<K extends string>(
  head: ReplyHead,
  names: Readonly<Record<K, string>>,
): Partial<Record<K, string>> {
  const found: Partial<Record<K, string>> = {}
  for (const key in names) {
    const value = shownField(head, names[key])
    if (value !== undefined) found[key] = value
  }
  return found
}

function shownField(head: ReplyHead, name: string): string | undefined {
  const value = head.fields.get(name)
  return value === undefined || value === '' ? undefined : printable(value)
}

/** The first line of a body that says something; of chunked content the first chunk's. */
export function firstLineOf(head: ReplyHead, body: string): string | undefined {
  const chunked = /\bchunked\b/i.test(head.fields.get('transfer-encoding') ?? '')
  const lines = body.split(/\r\n|\r|\n/)
  const line = (chunked ? lines.slice(1) : lines).find((text) => text.trim() !== '')
  return line === undefined ? undefined : printable(line.trim())
}

export interface SallyportRefusal {
  readonly code: string
  readonly hint?: string
  readonly id?: string
}

/** Recognises a refusal of Sallyport's own by its Proxy-Status field; hint and id are in the JSON body. */
export function readSallyportRefusal(head: ReplyHead, body: string): SallyportRefusal | undefined {
  const status = head.fields.get('proxy-status') ?? ''
  const code = /^sallyport; error=[a-z_]+; details="([a-z_]{1,40})"$/.exec(status)?.[1]
  if (code === undefined) return undefined
  return { code, ...textOf(body, 'hint'), ...textOf(body, 'id') }
}

function textOf<K extends string>(body: string, key: K): Partial<Record<K, string>> {
  let parsed: unknown
  try {
    parsed = JSON.parse(body)
  } catch {
    return {}
  }
  const found = Object.entries(parsed ?? {}).find(([name]) => name === key)?.[1] as unknown
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a computed key is a string index to the compiler
  return typeof found === 'string' ? ({ [key]: printable(found) } as Partial<Record<K, string>>) : {}
}

/** What the registry of outcomes advises for a code, when this version knows it. */
export function adviceFor(code: string): string | undefined {
  return isOutcome(code) ? outcome(code).advice : undefined
}

function isOutcome(code: string): code is OutcomeCode {
  return Object.hasOwn(OUTCOMES, code)
}
