/**
 * Whose certificate this is, and who vouches for it. Pure: certificates in, facts out.
 *
 * The host of an allowlist has a certificate from a public CA, whose root is in the Mozilla list that Node brings. A TLS
 * interceptor cannot have that: its CA is in the system's or an extra store at best. The whole chain is verified by
 * OpenSSL against the Mozilla list alone; here only what failed there is looked at, link by link.
 */
import type { X509Certificate } from 'node:crypto'
import { printable } from './printable.ts'

export interface TrustStores {
  /** The Mozilla list. */
  readonly publicRoots: () => readonly X509Certificate[]
  /** What only this machine trusts: the system's store, NODE_EXTRA_CA_CERTS. */
  readonly localRoots: () => readonly X509Certificate[]
}

export type Trust = 'public' | 'local' | 'unknown'

/**
 * Names the store in which a chain ends, whatever the dates in it say.
 *
 * @param chain as the peer sent it, its own certificate first
 */
export function trustOf(chain: readonly X509Certificate[], stores: TrustStores): Trust {
  if (endsIn(chain, stores.publicRoots())) return 'public'
  return endsIn(chain, stores.localRoots()) ? 'local' : 'unknown'
}

function endsIn(chain: readonly X509Certificate[], roots: readonly X509Certificate[]): boolean {
  for (const [index, certificate] of chain.entries()) {
    // An issuer that is no CA vouches for nobody.
    if (index > 0 && !(certificate.ca && issued(certificate, chain[index - 1]))) return false
    const trusted = roots.some(
      (root) => root.fingerprint256 === certificate.fingerprint256 || issued(root, certificate),
    )
    if (trusted) return true
  }
  return false
}

/** By name and by signature. */
function issued(issuer: X509Certificate, certificate: X509Certificate | undefined): boolean {
  try {
    return (
      certificate !== undefined &&
      certificate.issuer === issuer.subject &&
      certificate.checkIssued(issuer) &&
      certificate.verify(issuer.publicKey)
    )
  } catch {
    // A key or a signature that OpenSSL cannot read.
    return false
  }
}

/** `Corp Inspection CA (Corp Ltd)`, from a distinguished name as X509Certificate gives it: one attribute a line. */
export function nameOf(distinguishedName: string): string {
  const attributes = new Map(
    distinguishedName.split('\n').map((line): [string, string] => {
      const equals = line.indexOf('=')
      return [line.slice(0, equals), line.slice(equals + 1).replaceAll('\\', '')]
    }),
  )
  const common = attributes.get('CN')
  const organization = attributes.get('O') ?? attributes.get('OU')
  if (common === undefined) return printable(organization ?? distinguishedName.replaceAll('\n', ', '))
  return printable(
    organization === undefined || organization === common ? common : `${common} (${organization})`,
  )
}

/** DNS names of the subject alternative name, as X509Certificate gives it. */
export function dnsNamesOf(subjectAltName: string | undefined): readonly string[] {
  return (subjectAltName ?? '')
    .split(', ')
    .flatMap((entry) => (entry.startsWith('DNS:') ? [printable(entry.slice(4))] : []))
}
