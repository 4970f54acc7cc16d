/** The one line that a person reads for each step. Pure; every text from the network in the facts is escaped already. */
import { classifyAddress, type AddressBlock } from '../policy/addresses.ts'
import { isRegistry } from './expectation.ts'
import { list, namesOf, wordFor } from './judge.ts'
import type { ConnectFacts, DnsFacts, HttpFacts, TcpFacts, TlsFacts } from './report.ts'

export function describeDns(facts: DnsFacts): string {
  if (facts.resolver === 'static') return `${list(facts.addresses)}, static (\`dns.hosts\`)`
  return [
    list(facts.addresses),
    ...(facts.ttlSeconds === undefined ? [] : [`TTL ${facts.ttlSeconds} s`]),
    `from ${facts.resolver}`,
    ...(facts.cnames.length === 0 ? [] : [`alias of ${facts.cnames.join(' -> ')}`]),
    ...(facts.ipv6 === 'no' ? ['no IPv6'] : []),
    ...(facts.ipv6 === 'unanswered' ? ['the question for IPv6 is not answered'] : []),
    ...otherResolvers(facts),
  ].join(', ')
}

/** The resolvers that did not say the same: a client that asks them first waits, or fails. */
export function otherResolvers({ resolver, asked }: DnsFacts): readonly string[] {
  return asked.flatMap((answer) =>
    answer.server === resolver || answer.kind === 'answer'
      ? []
      : [
          `${answer.server} ${OTHER_WORDS[answer.kind]}${answer.kind === 'failed' ? ` (${answer.code})` : ''}`,
        ],
  )
}

const OTHER_WORDS = {
  nxdomain: 'says NXDOMAIN',
  nodata: 'has no address',
  failed: 'fails',
  timeout: 'does not answer',
} as const

export function describeGuard(addresses: readonly string[], allow: readonly AddressBlock[]): string {
  const excepted = addresses.flatMap((address) => {
    const verdict = classifyAddress(address, allow)
    return verdict.kind === 'excepted' ? [`${address} (by ${verdict.block} in \`addresses.allow\`)`] : []
  })
  if (excepted.length > 0) return `may be dialled: ${list(excepted)}`
  return addresses.length === 1 ? 'a public address' : `${addresses.length} addresses, all public`
}

export function describeTcp({ tries, address }: TcpFacts): string {
  const answering = tries.filter((one) => one.result === 'connected').length
  const silent = tries.filter((one) => one.result !== 'connected')
  const rest = silent.length === 0 ? '' : `; ${list(silent.map((one) => `${one.address} ${wordFor(one)}`))}`
  return `${address} answers${tries.length > 1 ? ` (${answering} of ${tries.length})` : ''}${rest}`
}

export function describeTls(facts: TlsFacts): string {
  const local = facts.trust === 'local' ? ' (a CA that only this machine trusts)' : ''
  return `${facts.version}, ${namesOf(facts)}, issued by ${facts.issuer}${local}, until ${facts.validTo.slice(0, 10)}`
}

export function describeHttp(facts: HttpFacts, host: string, purpose: string | undefined): string {
  const asked = `${facts.status} to ${facts.request}`
  const location = facts.location === undefined ? '' : `, to ${facts.location}`
  return facts.status === 401 && isRegistry(host, purpose)
    ? `${asked}, as a registry should`
    : `${asked}${location}`
}

export function describeConnect(facts: ConnectFacts): string {
  return [
    facts.statusLine,
    ...(facts.proxyStatus === undefined ? [] : [`Proxy-Status: ${facts.proxyStatus}`]),
    ...(facts.authenticate === undefined ? [] : [`Proxy-Authenticate: ${facts.authenticate}`]),
    ...(facts.server === undefined ? [] : [`Server: ${facts.server}`]),
    ...(facts.location === undefined ? [] : [`Location: ${facts.location}`]),
    ...(facts.firstLine === undefined ? [] : [facts.firstLine]),
  ].join(' | ')
}
