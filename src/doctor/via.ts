/** The proxy of `--via`. Pure. */
import { isIPv4Literal, isIPv6Literal } from '../policy/authority.ts'
import { parseHostname } from '../policy/hostname.ts'

export interface Via {
  readonly scheme: 'http' | 'https'
  /** A name or an address, without brackets. */
  readonly host: string
  readonly port: number
  /** The value of Proxy-Authorization, when the URL has credentials. Never shown. */
  readonly authorization?: string
  /** As it may be shown: without credentials. */
  readonly shown: string
}

export type ViaResult =
  { readonly ok: true; readonly via: Via } | { readonly ok: false; readonly problem: string }

/** Reads `http://proxy:3128`, `https://user:password@proxy.example.com`; without a port it is the scheme's own. */
export function parseVia(text: string): ViaResult {
  const expected = 'expected an address such as http://proxy:3128 or https://proxy.example.com:3129'
  const scheme = /^(https?):\/\//i.exec(text)?.[1]?.toLowerCase()
  const url = scheme === 'http' || scheme === 'https' ? URL.parse(text) : null
  if (!url || (scheme !== 'http' && scheme !== 'https')) return { ok: false, problem: expected }
  if (url.pathname !== '/' || url.search !== '' || url.hash !== '')
    return { ok: false, problem: 'a proxy has no path; leave out what stands behind the port' }
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1')
  if (!isIPv4Literal(host) && !isIPv6Literal(host) && !parseHostname(host).ok)
    return { ok: false, problem: expected }
  const port = url.port === '' ? (scheme === 'https' ? 443 : 80) : Number(url.port)
  if (port === 0) return { ok: false, problem: expected }
  const authorization = authorizationOf(url)
  if (authorization === undefined)
    return { ok: false, problem: 'the credentials are not percent-encoded UTF-8; write % as %25' }
  return {
    ok: true,
    via: {
      scheme,
      host,
      port,
      ...(authorization !== '' && { authorization }),
      shown: `${scheme}://${host.includes(':') ? `[${host}]` : host}:${port}`,
    },
  }
}

/** RFC 7617; empty without credentials, `undefined` when they cannot be read. */
function authorizationOf({ username, password }: URL): string | undefined {
  if (username === '' && password === '') return ''
  try {
    const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
    return `Basic ${Buffer.from(credentials).toString('base64')}`
  } catch {
    return undefined
  }
}
