/**
 * THE registry of outcomes. Every refusal, failure and end of a tunnel has one code here, with its HTTP status,
 * its RFC 9209 error type, whether trying again can help, and the words that a person reads. The reply, the
 * audit record, the documentation and the tests all read this table; nothing else knows a code. It is long because it is
 * one table.
 */
import type { AlertName } from '../tls/alert.ts'

/** Whether the same request may work later by itself, after a policy change, or never as it is. */
export type Retry = 'none' | 'transient' | 'policy'

export type Action = 'tunnel-opened' | 'tunnel-denied' | 'tunnel-failed' | 'tunnel-closed'

export interface OutcomeEntry {
  readonly action: Action
  /** HTTP status of the reply; `null` where no HTTP reply is possible or needed. */
  readonly status: number | null
  /** RFC 9209 §2.3 proxy error type, for the Proxy-Status field. */
  readonly proxyError: string | null
  readonly retry: Retry
  /** What a client is told after the 200, when an alert is the only word left (RFC 8446 §6). */
  readonly alert?: AlertName
  /** What happened, as the middle of a sentence. */
  readonly meaning: string
  /** What the reader should do about it, as an imperative. */
  readonly advice: string
}

const malformed = {
  action: 'tunnel-denied',
  status: 400,
  proxyError: 'http_request_error',
  retry: 'none',
} as const
const policy = {
  action: 'tunnel-denied',
  status: 403,
  proxyError: 'http_request_denied',
  retry: 'policy',
  // Where the ClientHello names the host, the denial comes after the 200.
  alert: 'access_denied',
} as const
const limit = {
  action: 'tunnel-denied',
  status: 503,
  proxyError: 'connection_limit_reached',
  retry: 'transient',
  // On a transparent listener there is no HTTP to say it in.
  alert: 'internal_error',
} as const
/** Denied by the ClientHello: the 200 is out, so the answer is an alert. */
const hello = { action: 'tunnel-denied', status: null, proxyError: null, retry: 'policy' } as const
const failure = { action: 'tunnel-failed', retry: 'transient', alert: 'internal_error' } as const
const closed = { action: 'tunnel-closed', status: null, proxyError: null, retry: 'none' } as const

export const OUTCOMES = {
  allowed: {
    action: 'tunnel-opened',
    status: 200,
    proxyError: null,
    retry: 'none',
    meaning: 'a rule allows this host and port',
    advice: 'nothing to do',
  },

  host_not_allowed: {
    ...policy,
    meaning: 'no rule allows this host',
    advice: 'correct the name, or have the host added to the policy',
  },
  port_not_allowed: {
    ...policy,
    meaning: 'the host is allowed, but not on this port',
    advice: 'use the port that the rule names',
  },
  ip_literal: {
    ...policy,
    meaning: 'the target is an IP address, and rules name hosts',
    advice:
      'name the host; for chainctl before March 2025, upgrade it or set `policy.ipLiterals: verify-sni`',
  },
  rule_denied: {
    ...policy,
    meaning: 'a deny rule names this host, and deny beats allow',
    advice: 'ask the owner of the deny rule',
  },
  rule_expired: {
    ...policy,
    meaning: 'the rule that allowed this host has expired',
    advice: "ask the rule's owner to renew its `expires` date",
  },
  client_not_allowed: {
    ...policy,
    meaning: 'this client address may not use the proxy',
    advice: 'have the client address added to `clients.allow`',
  },
  client_unknown: {
    ...policy,
    meaning: 'no rule of `clients.rules` fits this client, and `clients.others` is deny',
    advice: 'have the client added to `clients.rules`',
  },
  certificate_required: {
    ...policy,
    meaning: 'this listener serves only clients with a valid certificate, and none was shown',
    advice: 'give the client a certificate from the CA in `tls.clientCa` (curl: --proxy-cert, --proxy-key)',
  },
  credentials_missing: {
    ...policy,
    status: 407,
    meaning: 'this client has to say who it is, and sent no credentials',
    advice: 'write HTTPS_PROXY=http://user:password@…',
  },
  credentials_wrong: {
    ...policy,
    status: 407,
    meaning: 'the credentials in Proxy-Authorization are not right',
    advice: 'check user and password, percent-encoded in HTTPS_PROXY=http://user:password@…',
  },
  address_prohibited: {
    ...policy,
    proxyError: 'destination_ip_prohibited',
    meaning: 'the name resolves to an address that must not be dialled',
    advice: 'check the DNS answer; an internal host needs its block in `addresses.allow`',
  },

  malformed_authority: {
    ...malformed,
    meaning: 'the CONNECT target is not a plain host:port',
    advice: 'send `CONNECT host:443`, the host in ASCII letters, digits, hyphens and dots',
  },
  malformed_request: {
    ...malformed,
    meaning: 'the request head breaks RFC 9112',
    advice: 'send a well-formed HTTP/1.1 CONNECT with one Host field and no body',
  },
  host_mismatch: {
    ...malformed,
    meaning: 'the Host field names another host or port than the CONNECT target',
    advice: 'send the same host in both',
  },
  method_not_allowed: {
    ...malformed,
    status: 405,
    meaning: 'only CONNECT is served here',
    advice: 'set HTTPS_PROXY (not HTTP_PROXY) to this proxy',
  },
  tls_on_plain_port: {
    ...malformed,
    status: null,
    alert: 'unexpected_message',
    meaning: 'the client spoke TLS to the plain proxy port',
    advice: 'write HTTPS_PROXY=http://…, not https://…',
  },
  proxy_header_invalid: {
    ...malformed,
    meaning: 'the load balancer sent no PROXY header that can be read',
    advice: 'turn on the PROXY protocol (v1 or v2) at the balancer, or take it out of `proxyProtocol.from`',
  },
  tls_handshake_failed: {
    ...malformed,
    action: 'tunnel-failed',
    // Only who speaks plain HTTP can be told.
    meaning: 'the TLS handshake with the client failed on a listener that speaks TLS',
    advice: "write HTTPS_PROXY=https://…, and have the client trust the listener's certificate",
  },
  head_timeout: {
    ...malformed,
    status: 408,
    meaning: 'the request head did not arrive in time',
    advice: 'send the whole head at once',
  },
  head_too_large: {
    ...malformed,
    status: 431,
    meaning: 'the request head is larger than 16 KiB or has more than 64 fields',
    advice: 'send fewer or shorter header fields',
  },
  client_gone: {
    ...malformed,
    action: 'tunnel-failed',
    status: null,
    retry: 'none',
    meaning: 'the client went away before the tunnel was open',
    advice: 'look for a timeout or a crash on the client',
  },

  sni_mismatch: {
    ...hello,
    alert: 'unrecognized_name',
    meaning: 'the TLS server name (SNI) is not the CONNECT host',
    advice: 'use the same host in both; behind a shared edge another name is another tenant',
  },
  sni_missing: {
    ...hello,
    alert: 'missing_extension',
    meaning: 'the ClientHello names no server (no SNI)',
    advice: 'use a client that sends SNI, or give its rule `sni: off` (with owner and reason)',
  },
  ip_not_proven: {
    ...hello,
    alert: 'unrecognized_name',
    meaning: 'the target address is not among the current addresses of the host that the ClientHello names',
    advice: 'connect by host name: the client and the proxy get different DNS answers',
  },
  sni_malformed: {
    ...hello,
    retry: 'none',
    alert: 'decode_error',
    meaning: 'the ClientHello or its server name cannot be read',
    advice: 'look at what speaks through this tunnel',
  },
  not_tls: {
    ...hello,
    retry: 'none',
    alert: 'unexpected_message',
    meaning: 'the first bytes in the tunnel are not TLS',
    advice: 'only TLS goes through; for something else give the rule `sni: off` (with owner and reason)',
  },
  hello_timeout: {
    ...hello,
    retry: 'none',
    alert: 'handshake_failure',
    meaning: 'no whole ClientHello arrived in time',
    advice: 'look for a protocol in which the server speaks first, or a stalled client',
  },
  hello_too_large: {
    ...hello,
    retry: 'none',
    alert: 'decode_error',
    meaning: 'the ClientHello is larger than 16 KiB',
    advice: 'look at what speaks through this tunnel',
  },
  redirect_loop: {
    ...hello,
    alert: 'internal_error',
    meaning: 'this is traffic of the proxy itself, redirected back to its transparent listener',
    advice: 'leave the user that the proxy runs as out of the redirection',
  },

  too_many_connections: {
    ...limit,
    meaning: 'the proxy serves as many connections as `limits.connections` allows',
    advice: 'try again later, or raise the limit',
  },
  too_many_tunnels: {
    ...limit,
    meaning: 'this client has as many tunnels as `clients.maxTunnelsPerClient` allows',
    advice: 'close some tunnels, or raise the limit',
  },
  too_many_logins: {
    ...limit,
    meaning: 'more passwords wait to be verified than the proxy takes on at once',
    advice: 'try again; credentials that were right before are not held up by this',
  },
  draining: {
    ...limit,
    proxyError: 'proxy_internal_response',
    meaning: 'the proxy is shutting down',
    advice: 'try again: another instance or the restarted proxy will serve you',
  },
  audit_unavailable: {
    ...limit,
    proxyError: 'proxy_internal_error',
    meaning: 'audit records cannot be written, and nothing opens unrecorded',
    advice: "repair the proxy's audit output (disk full, closed pipe); its standard error says which",
  },

  dns_nxdomain: {
    ...failure,
    status: 502,
    proxyError: 'dns_error',
    meaning: 'the resolver says that this name does not exist',
    advice: "check the proxy's `dns.servers`: an internal resolver may not forward this domain",
  },
  dns_error: {
    ...failure,
    status: 502,
    proxyError: 'dns_error',
    meaning: 'the resolver gave no usable address',
    advice: "check the proxy's resolver for this name",
  },
  dns_timeout: {
    ...failure,
    status: 504,
    proxyError: 'dns_timeout',
    meaning: 'the resolver did not answer in time',
    advice: 'check that the proxy reaches its DNS servers on port 53, UDP and TCP',
  },
  connect_refused: {
    ...failure,
    status: 502,
    proxyError: 'connection_refused',
    meaning: 'the host refused the connection',
    advice: 'check the host, and the firewall between it and the proxy',
  },
  connect_unreachable: {
    ...failure,
    status: 502,
    proxyError: 'destination_ip_unroutable',
    meaning: 'there is no route to any address of the host',
    advice: "check the proxy's routes and the firewall's egress rules",
  },
  connect_timeout: {
    ...failure,
    status: 504,
    proxyError: 'connection_timeout',
    meaning: 'no address of the host answered in time',
    advice: "ask for the firewall's egress rule to this host on this port",
  },
  upstream_tls_failed: {
    ...failure,
    status: 502,
    proxyError: 'tls_protocol_error',
    meaning: 'TLS with the host of a forwarded request failed, or its certificate is not valid for the name',
    advice: 'check its certificate; a private CA goes into NODE_EXTRA_CA_CERTS of the proxy',
  },
  upstream_failed: {
    ...failure,
    status: 502,
    proxyError: 'http_protocol_error',
    meaning: 'the host of a forwarded request gave no answer that is HTTP',
    advice: 'look at the host; the same request by CONNECT shows what it says',
  },
  upstream_timeout: {
    ...failure,
    status: 504,
    proxyError: 'http_response_timeout',
    meaning: 'the host of a forwarded request did not answer in time',
    advice: 'look at the host, or raise `limits.idleTimeout`',
  },
  firewall_failed: {
    ...failure,
    status: 502,
    proxyError: 'proxy_internal_error',
    meaning: 'the packet filter that this proxy keeps did not take the address of the host',
    advice: "see the proxy's standard error for what nft said",
  },
  internal_error: {
    ...failure,
    status: 502,
    proxyError: 'proxy_internal_error',
    meaning: 'the proxy met an unexpected error, and what is unexpected is denied',
    advice: 'report it with the id of this reply',
  },

  completed: { ...closed, meaning: 'both sides finished', advice: 'nothing to do' },
  client_reset: { ...closed, meaning: 'the client reset the connection', advice: 'look at the client' },
  upstream_reset: { ...closed, meaning: 'the host reset the connection', advice: 'look at the host' },
  idle_timeout: {
    ...closed,
    meaning: 'no byte moved for `limits.idleTimeout`',
    advice: 'raise the limit if the tunnel was meant to stay',
  },
  linger_timeout: {
    ...closed,
    meaning: 'one side finished, and nothing moved for `limits.lingerTimeout` after that',
    advice: 'look at the side that stays open',
  },
  audit_failed: {
    ...closed,
    alert: 'internal_error',
    meaning: 'the record of the opening could not be written, and nothing flows unrecorded',
    advice: "repair the proxy's audit output; its standard error says what failed",
  },
  relay_failed: {
    ...closed,
    alert: 'internal_error',
    meaning: 'the proxy met an unexpected error as it joined the two sides',
    advice: 'report it with the id of this record',
  },
  max_age: {
    ...closed,
    meaning: 'the tunnel was open for `limits.maxAge`',
    advice: 'raise the limit if transfers need longer',
  },
  sni_changed: {
    ...closed,
    alert: 'unrecognized_name',
    meaning:
      'the ClientHello that followed a HelloRetryRequest named another server than the first one, or none',
    advice:
      'look at the client: no ordinary one does that, and it is a way to another tenant of a shared edge',
  },
  policy_revoked: {
    ...closed,
    meaning: 'a reload took the host out of the policy, and `policy.onRevoke` is `close`',
    advice: 'have the host added again if it is still needed',
  },
  worker_lost: {
    ...closed,
    meaning: 'the worker process that carried it ended unexpectedly',
    advice: 'see the worker-lost record and the standard error for what ended it',
  },
  drain_timeout: {
    ...closed,
    meaning: 'the proxy shut down, and `limits.drainTimeout` passed',
    advice: 'raise the limit if transfers need longer',
  },
} as const satisfies Record<string, OutcomeEntry>

export type OutcomeCode = keyof typeof OUTCOMES
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the keys of a constant
export const OUTCOME_CODES = Object.keys(OUTCOMES) as readonly OutcomeCode[]
/** Codes that end an attempt: everything but `allowed` and the ends of an open tunnel. */
export type RefusalCode = {
  [C in OutcomeCode]: (typeof OUTCOMES)[C]['action'] extends 'tunnel-denied' | 'tunnel-failed' ? C : never
}[OutcomeCode]
/** Codes with which an open tunnel ends. */
export type CloseCode = {
  [C in OutcomeCode]: (typeof OUTCOMES)[C]['action'] extends 'tunnel-closed' ? C : never
}[OutcomeCode]

/** The entry of a code, under the one type that all entries share. */
export function outcome(code: OutcomeCode): OutcomeEntry {
  return OUTCOMES[code]
}
