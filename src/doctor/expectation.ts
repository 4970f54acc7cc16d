/**
 * What a host is asked over HTTP, and when its answer shows that somebody else gave it. Pure.
 *
 * Reachability is any HTTP answer from the right TLS peer: 401 on `/v2/` is how a registry says hello, a storage host
 * answers 400 to a bare `/`, an API 404. So a status alone is never a finding. Only where TLS has already shown that the
 * peer is not, or may not be, the host does the answer tell what it is instead.
 */
import type { HttpFacts } from './report.ts'

/** Registries answer on the path that every client begins with; everybody has a root. */
export function pathFor(host: string, purpose: string | undefined): '/v2/' | '/' {
  return isRegistry(host, purpose) ? '/v2/' : '/'
}

/** @param purpose the rule's reason, for a preset the page's notes: "Main image registry" */
export function isRegistry(host: string, purpose: string | undefined): boolean {
  return host === 'cgr.dev' || host.startsWith('registry.') || /\bimage registry\b/i.test(purpose ?? '')
}

export interface PortalQuestion {
  readonly host: string
  readonly registry: boolean
  /**
   * `other`: TLS itself says that the peer is not the host; `unsure`: an interceptor opened it; `plain`: there is no TLS,
   * what answers may be any web server that was spoken to in a language that it does not know.
   */
  readonly peer: 'host' | 'unsure' | 'other' | 'plain'
}

type PortalFacts = Pick<HttpFacts, 'status' | 'contentType' | 'location'>

/** Why the answer is a portal's or a filter's, in words; `undefined` when nothing says so. */
export function portalSign(facts: PortalFacts, { host, registry, peer }: PortalQuestion): string | undefined {
  if (peer === 'host') return undefined
  // RFC 6585 §6: made for captive portals, and nothing else sends it.
  if (facts.status === 511) return '511 Network Authentication Required'
  // The usual answer to a ClientHello is a page that says 400.
  if (peer === 'plain' && facts.status >= 400) return undefined
  const html = /^(?:text\/html|application\/xhtml\+xml)\b/i.test(facts.contentType ?? '')
  if (facts.status >= 300 && facts.status < 400 && facts.location !== undefined) {
    const leads = elsewhere(facts.location, host)
    if (leads === 'plain' || (leads === 'other' && (peer !== 'unsure' || registry)))
      return `${facts.status} to ${facts.location}`
  }
  if (html && (peer !== 'unsure' || registry)) return `${facts.status} with an HTML page`
  return undefined
}

/** `plain`: to http, which no host of an allowlist does over TLS; `other`: to another site. */
function elsewhere(location: string, host: string): 'plain' | 'other' | 'same' {
  const url = URL.parse(location, `https://${host}/`)
  if (!url) return 'other'
  if (url.protocol === 'http:') return 'plain'
  const site = host.split('.').slice(-2).join('.')
  return url.hostname === host || url.hostname === site || url.hostname.endsWith(`.${site}`)
    ? 'same'
    : 'other'
}
