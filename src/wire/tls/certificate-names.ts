import type { X509Certificate } from 'node:crypto'

/**
 * One entry of Node's text of subjectAltName. A value with special characters is a JSON string, in which a comma is
 * written as \u002c: so a comma and a space part entries, whatever kind they are of, and nothing else does.
 */
const ENTRY = /(?:^|, )(DNS|URI|email):("(?:[^"\\]|\\.)*"|[^,"]*)/g

/**
 * Whom a client certificate names: the DNS names, URIs (SPIFFE) and mail addresses in subjectAltName, or, where it has
 * none, the one common name of its subject (RFC 6125 §6.4.4: a common name counts only without them).
 */
export function certificateNames(
  certificate: Pick<X509Certificate, 'subjectAltName' | 'toLegacyObject'>,
): readonly string[] {
  const names = [...(certificate.subjectAltName ?? '').matchAll(ENTRY)].map(([, , value = '']) =>
    unquote(value),
  )
  if (certificate.subjectAltName !== undefined) return names
  const common: unknown = certificate.toLegacyObject().subject?.CN
  return typeof common === 'string' && common !== '' ? [common] : []
}

function unquote(value: string): string {
  if (!value.startsWith('"')) return value
  const text: unknown = JSON.parse(value)
  return typeof text === 'string' ? text : value
}
