/**
 * Everything that the doctor can find, each with who can mend it, what it means and what to ask of them. The report,
 * `docs/operating.md` and the tests read this table. Where the gate has an outcome of the same name, it is the same thing.
 */

/** Who can mend it. */
export type Owner = 'network' | 'dns' | 'proxy' | 'policy' | 'clock' | 'host'

export interface FindingEntry {
  readonly owner: Owner
  /** What happened, as a sentence without its stop. */
  readonly meaning: string
  /** What to ask for, as an imperative without its stop. */
  readonly ask: string
}

export const FINDINGS = {
  not_allowed: {
    owner: 'policy',
    meaning: 'The policy does not allow this host, so it was not probed',
    ask: 'correct the name, or have the host added to the policy',
  },
  dns_nxdomain: {
    owner: 'dns',
    meaning: 'The resolver says that the name does not exist',
    ask: 'ask for the resolver to forward these names to the public DNS, or set `dns.servers` to one that does',
  },
  dns_error: {
    owner: 'dns',
    meaning: 'The resolver gave no usable address',
    ask: 'ask for the resolver to be repaired for these names',
  },
  dns_timeout: {
    owner: 'dns',
    meaning: 'No resolver answered in time',
    ask: 'ask for UDP and TCP port 53 to the resolvers, or set `dns.servers` to ones that answer',
  },
  address_prohibited: {
    owner: 'dns',
    meaning: 'The answer has an address that the gate never dials',
    ask: 'ask why the resolver gives an inside address; where that is meant, put its block into `addresses.allow`',
  },
  connect_refused: {
    owner: 'network',
    meaning: 'The connection is refused: a firewall that rejects, or nothing listens there',
    ask: 'ask for egress (TCP) to these hosts',
  },
  connect_timeout: {
    owner: 'network',
    meaning: 'Nothing answers: a firewall drops the packets',
    ask: 'ask for egress (TCP) to these hosts',
  },
  connect_unreachable: {
    owner: 'network',
    meaning: 'There is no route, or a firewall says so',
    ask: 'ask for a route and for egress (TCP) to these hosts',
  },
  partly_reachable: {
    owner: 'network',
    meaning: 'Some of the addresses answer and others do not: a firewall that knows only some of them',
    ask: 'ask for egress by name, or to every address that DNS gives, renewed at its TTL',
  },
  tls_not_spoken: {
    owner: 'network',
    meaning: 'What answers does not speak TLS, so it is not the host',
    ask: 'ask what answers in its place, and for egress without it',
  },
  tls_reset: {
    owner: 'network',
    meaning:
      'The connection is cut as soon as TLS names the host: typical of a firewall that filters by server name',
    ask: 'ask for these server names to be let through',
  },
  tls_timeout: {
    owner: 'network',
    meaning: 'The connection opens, then TLS gets no answer: something on the way swallows it',
    ask: 'ask for TLS to pass unfiltered to these hosts; where only large packets vanish, it is the MTU',
  },
  tls_failed: {
    owner: 'network',
    meaning: 'TLS fails',
    ask: 'ask what on the way refuses it; through Sallyport, its audit record says why',
  },
  certificate_expired: {
    owner: 'host',
    meaning: 'The certificate has expired',
    ask: 'tell the owner of the host; check the clock of this machine first',
  },
  certificate_not_yet_valid: {
    owner: 'clock',
    meaning: 'The certificate is not valid yet by the clock of this machine',
    ask: 'check the clock (NTP): where it is behind, every certificate looks too new',
  },
  certificate_wrong_name: {
    owner: 'network',
    meaning: 'The certificate is for another name: DNS or something on the way leads elsewhere',
    ask: 'ask where these connections are led, and for egress to the host itself',
  },
  interceptor: {
    owner: 'network',
    meaning:
      'TLS is opened on the way by an interceptor. This machine trusts its CA; containers and daemons with their own CA lists do not',
    ask: 'ask for these hosts to be exempt from TLS inspection, or give its CA to every client',
  },
  unknown_issuer: {
    owner: 'network',
    meaning:
      'The certificate comes from a CA that neither Mozilla nor this machine knows: typical of an interceptor (TLS inspection)',
    ask: 'ask for these hosts to be exempt from TLS inspection; a host of your own may lack an intermediate certificate',
  },
  captive_portal: {
    owner: 'network',
    meaning: 'A web page answers in place of the host: a captive portal or the block page of a filter',
    ask: 'log in to the network where it asks for that; on a server, ask for egress without it',
  },
  http_timeout: {
    owner: 'network',
    meaning: 'TLS opens, then HTTP gets no answer',
    ask: 'ask what inspects these connections; if nothing does, tell the owner of the host',
  },
  http_failed: {
    owner: 'network',
    meaning: 'TLS opens, then the connection ends without an HTTP answer',
    ask: 'ask what inspects these connections; if nothing does, tell the owner of the host',
  },
  proxy_unreachable: {
    owner: 'proxy',
    meaning: 'The proxy cannot be reached',
    ask: "check the proxy's address and port, that it runs, and that a firewall lets this machine reach it",
  },
  proxy_tls: {
    owner: 'proxy',
    meaning: 'TLS with the proxy itself fails',
    ask: 'use http:// with --via unless the proxy really speaks TLS to its clients',
  },
  proxy_auth_required: {
    owner: 'proxy',
    meaning: 'The proxy asks for credentials (407)',
    ask: 'give them as http://USER:PASSWORD@proxy:3128, or ask for an exemption for these hosts',
  },
  proxy_denied: {
    owner: 'proxy',
    meaning: 'The proxy refuses',
    ask: 'ask its team to allow these hosts',
  },
  proxy_failed: {
    owner: 'proxy',
    meaning: 'The proxy allows the host and does not get through to it',
    ask: 'ask its team for DNS and egress from the proxy to these hosts',
  },
  proxy_no_answer: {
    owner: 'proxy',
    meaning: 'The proxy takes the connection and does not answer CONNECT',
    ask: 'check that this is the port of a forward proxy; if it is, ask its team',
  },
  proxy_not_http: {
    owner: 'proxy',
    meaning: 'What answers at the address of the proxy does not speak HTTP',
    ask: "check the proxy's address, port and scheme",
  },
} as const satisfies Record<string, FindingEntry>

export type FindingCode = keyof typeof FINDINGS

export interface Finding {
  readonly code: FindingCode
  /** This case in our own words; what comes from the network in it is escaped. */
  readonly detail: string
  /** Mends it where the table's `ask` would be too general. */
  readonly ask?: string
  /** Whoever else should look at it than the table says. */
  readonly owner?: Owner
}
