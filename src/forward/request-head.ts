/**
 * The request head as it goes on: written anew from the fields that were judged, so that whoever parses it next reads
 * what was judged. Without the fields that are for one hop only (RFC 9110 §7.6.1), and without Proxy-*. Pure.
 */
import { authorityOf } from '../policy/refusal.ts'
import type { AbsoluteHead } from '../proxy/absolute-form.ts'

/** Who forwards, in Via (RFC 9110 §7.6.3). */
export const PSEUDONYM = 'sallyport'

const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
])
/** Written here, whatever Connection says of them. */
const OURS: ReadonlySet<string> = new Set(['host', 'content-length', 'transfer-encoding', 'expect', 'via'])

/** Whether a field ends at this hop. `named`: what the Connection field says. */
export function endsHere(name: string, named: ReadonlySet<string>): boolean {
  return HOP_BY_HOP.has(name) || name.startsWith('proxy-') || named.has(name)
}

/** The field names that Connection fields list. */
export function connectionOptions(values: readonly string[]): ReadonlySet<string> {
  return new Set(values.flatMap((value) => value.split(',')).map((name) => name.trim().toLowerCase()))
}

export function formatRequestHead(
  { method, path, version, fields }: AbsoluteHead,
  target: { readonly host: string; readonly port: number },
): Buffer {
  const named = connectionOptions(fields.get('connection') ?? [])
  const lines = [
    `${method} ${path} HTTP/${version}`,
    `Host: ${target.port === 443 ? target.host : authorityOf(target)}`,
  ]
  for (const [name, values] of fields) {
    if (OURS.has(name) || endsHere(name, named)) continue
    for (const value of values) lines.push(`${name}: ${value}`)
  }
  const length = fields.get('content-length')?.[0]
  if (length !== undefined) lines.push(`Content-Length: ${length}`)
  if (fields.has('transfer-encoding')) lines.push('Transfer-Encoding: chunked')
  // Who speaks HTTP/1.0 cannot be told to go on.
  if (fields.has('expect') && version === '1.1') lines.push('Expect: 100-continue')
  lines.push(
    `Via: ${[...(fields.get('via') ?? []), `${version} ${PSEUDONYM}`].join(', ')}`,
    'Connection: close',
  )
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n`, 'latin1')
}
