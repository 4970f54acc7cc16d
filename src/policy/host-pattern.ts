/**
 * The host of a rule: an exact name, or `*.x`, which covers the subdomains of x at any depth and never x itself.
 * What can never apply, or would let in strangers, is refused here with what to write instead.
 */
import { domainToASCII } from 'node:url'
import { parse as parseSuffix } from 'tldts'
import { isIPv4Literal, isIPv6Literal } from './authority.ts'
import { hasNonAscii, parseHostname, type Hostname } from './hostname.ts'
import { sharedService } from './shared-tenants.ts'

export type HostPattern =
  | { readonly kind: 'exact'; readonly hostname: Hostname }
  | { readonly kind: 'subdomains'; readonly apex: Hostname }

export type HostPatternResult =
  | { readonly ok: true; readonly pattern: HostPattern }
  /** `problem` says what is wrong, `advice` what to write instead. */
  | { readonly ok: false; readonly problem: string; readonly advice: string }

export function formatHostPattern(pattern: HostPattern): string {
  return pattern.kind === 'exact' ? pattern.hostname : `*.${pattern.apex}`
}

export function matchesHost(pattern: HostPattern, hostname: string): boolean {
  return pattern.kind === 'exact' ? hostname === pattern.hostname : hostname.endsWith(`.${pattern.apex}`)
}

/** Whether every host of `inner` is also one of `outer`. */
export function coversPattern(outer: HostPattern, inner: HostPattern): boolean {
  if (inner.kind === 'exact') return matchesHost(outer, inner.hostname)
  return outer.kind === 'subdomains' && (outer.apex === inner.apex || matchesHost(outer, inner.apex))
}

/**
 * Parses the host of an allow or deny rule.
 *
 * @param use a deny rule may be as broad as it likes: it only takes away
 */
export function parseHostPattern(text: string, use: 'allow' | 'deny' = 'allow'): HostPatternResult {
  const slip = commonSlip(text, use)
  if (slip) return slip
  if (!text.includes('*')) return parseExact(text, use)
  if (!text.startsWith('*.') || text.indexOf('*', 1) !== -1) {
    return refuse(
      'a wildcard stands for whole leading labels only',
      'write `*.example.com`, or list the hosts one by one',
    )
  }
  const apex = parseHostname(text.slice(2))
  if (!apex.ok) return refuse('what follows `*.` is not a hostname', 'write `*.example.com`')
  if (use === 'allow') {
    const broad = tooBroad(apex.hostname)
    if (broad) return broad
  }
  return { ok: true, pattern: { kind: 'subdomains', apex: apex.hostname } }
}

function parseExact(text: string, use: 'allow' | 'deny'): HostPatternResult {
  const name = parseHostname(text)
  if (!name.ok) {
    return refuse(
      'not a hostname',
      'write ASCII letters, digits and hyphens in labels of 1 to 63, joined by dots',
    )
  }
  if (use === 'allow') {
    const suffix = parseSuffix(name.hostname, { allowPrivateDomains: false })
    if (!name.hostname.includes('.') || suffix.publicSuffix === name.hostname) {
      return refuse(
        'a single label or public suffix is no host that can be reached',
        'write the full name, such as `cgr.dev`',
      )
    }
  }
  return { ok: true, pattern: { kind: 'exact', hostname: name.hostname } }
}

/** The mistakes that people make, each with its mend. */
function commonSlip(text: string, use: 'allow' | 'deny'): HostPatternResult | undefined {
  if (text.trim() === '') return refuse('the host is empty', 'write a name such as `cgr.dev`')
  if (text === '*') {
    return use === 'allow'
      ? refuse('`*` allows every host on the internet', 'list the hosts one by one')
      : refuse(
          '`*` is every host, and nothing would be left',
          'deny hosts one by one, or list fewer in `policy.allow`',
        )
  }
  const url = /^(?:[a-z][a-z0-9+.-]*:)?\/\/(?:[^/?#@]*@)?(\[[^\]]*\]|[^/?#:]*)/i.exec(text)
  if (url) return refuse('a URL is not a host', suggest(url[1] ?? '', use))
  // A literal, a block or a literal with its port.
  const bare = text.replace(/\/[0-9]+$/, '').replace(/^\[(.*)\](?::[0-9]*)?$/, '$1')
  if (isIPv4Literal(bare.replace(/:[0-9]*$/, '')) || isIPv6Literal(bare)) {
    return refuse(
      'rules name hosts, and this is an IP address',
      'write the host name; addresses follow from its DNS answers',
    )
  }
  if (/\s/.test(text)) return refuse('a host has no spaces', 'write one host for each rule')
  if (hasNonAscii(text)) return refuse('a host is written in ASCII', suggest(domainToASCII(text), use))
  if (text.includes('/')) return refuse('a host has no path', suggest(text.slice(0, text.indexOf('/')), use))
  const port = /^([^:]+):([0-9]*)$/.exec(text)
  if (port) {
    const host = suggestible(port[1] ?? '', use)
    const lines = `\`host: ${host?.startsWith('*') ? `'${host}'` : host}\` and \`port: ${port[2] || '443'}\``
    return refuse('the port has a key of its own', host === undefined ? GENERIC_ADVICE : `write ${lines}`)
  }
  if (text.startsWith('.')) {
    return refuse(
      'a leading dot is ambiguous',
      `write \`*${text}\` for the subdomains, \`${text.slice(1)}\` for the host itself`,
    )
  }
  if (text.endsWith('.')) return refuse('a host has no trailing dot', suggest(text.replace(/\.+$/, ''), use))
  return undefined
}

const GENERIC_ADVICE = 'write a host name such as `cgr.dev`'

/** `write X`, unless X would be refused in turn. */
function suggest(host: string, use: 'allow' | 'deny'): string {
  const better = suggestible(host, use)
  return better === undefined ? GENERIC_ADVICE : `write \`${better}\``
}

function suggestible(host: string, use: 'allow' | 'deny'): string | undefined {
  const result = parseHostPattern(host, use)
  return result.ok ? formatHostPattern(result.pattern) : undefined
}

function tooBroad(apex: Hostname): HostPatternResult | undefined {
  // Parsed with a label in front: the question is who owns the names below the apex.
  const below = parseSuffix(`x.${apex}`, { allowPrivateDomains: true })
  const registry = below.publicSuffix === apex || below.publicSuffix === `x.${apex}`
  if (!apex.includes('.') || registry) {
    return refuse(
      `\`*.${apex}\` allows everybody who registers a name under ${apex}`,
      'list the hosts one by one',
    )
  }
  const shared = sharedService(apex, below.isPrivate === true)
  if (shared !== undefined) {
    return refuse(
      `\`*.${apex}\` allows every customer of a shared service (${shared})`,
      `write the one host that is yours, such as \`your-account.${shared}\``,
    )
  }
  return undefined
}

function refuse(problem: string, advice: string): HostPatternResult {
  return { ok: false, problem, advice }
}
