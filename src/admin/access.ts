/** Who may ask: told from the head of a request alone. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { isIPv4Literal, isIPv6Literal } from '../policy/authority.ts'
import { problem, type Reply } from './reply.ts'

/**
 * A page of another site may make a browser ask us; it may even have our address under a name of its own (DNS
 * rebinding). So the name has to be ours, or no name at all: an address cannot be rebound.
 */
export function checkOrigin(request: IncomingMessage, hosts: readonly string[]): Reply | undefined {
  const { host, origin, 'sec-fetch-site': site } = request.headers
  if (host === undefined || !isOurs(host, hosts)) {
    return problem(
      421,
      'host_not_ours',
      'this is not a name of the admin listener; use an IP address or localhost, or add the name to admin.hosts',
    )
  }
  const foreign = origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`
  if (foreign || ((site === 'cross-site' || site === 'same-site') && !opensDashboard(request))) {
    return problem(403, 'cross_origin', 'pages of other origins have no access here')
  }
  return undefined
}

/**
 * Whether somebody has followed a link to the dashboard. The page says nothing by itself, the one with the link cannot
 * read or frame it, and what it asks next comes from our origin.
 */
function opensDashboard({ method, url, headers }: IncomingMessage): boolean {
  const { 'sec-fetch-mode': mode, 'sec-fetch-dest': destination } = headers
  return method === 'GET' && url === '/' && mode === 'navigate' && destination === 'document'
}

/** @param host the Host field, with its port or without */
function isOurs(host: string, hosts: readonly string[]): boolean {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+))(?::[0-9]{1,5})?$/.exec(host)
  if (!match) return false
  if (match[1] !== undefined) return isIPv6Literal(match[1])
  const name = (match[2] ?? '').toLowerCase()
  return name === 'localhost' || isIPv4Literal(name) || hosts.includes(name)
}

/** @param token what is asked for; `undefined`: nothing */
export function checkToken(authorization: string | undefined, token: string | undefined): Reply | undefined {
  if (token === undefined) return undefined
  const shown = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1]
  if (shown !== undefined && isSame(shown, token)) return undefined
  return {
    ...problem(
      401,
      shown === undefined ? 'token_missing' : 'token_wrong',
      'send `Authorization: Bearer …` with the token of admin.token or admin.tokenFile',
    ),
    headers: { 'WWW-Authenticate': 'Bearer realm="sallyport"' },
  }
}

/** In the same time whatever is shown. */
function isSame(shown: string, token: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return timingSafeEqual(digest(shown), digest(token))
}
