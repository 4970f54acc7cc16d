/** Durations and sizes as people write them, and listen addresses. */
import type { AddressBlock } from '../policy/addresses.ts'
import { isIPv4Literal, isIPv6Literal } from '../policy/authority.ts'

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
/** Node's timers hold 32 bits of milliseconds; a longer wait would fire at once. */
const MAX_DURATION_MS = 2_147_483_647

/** `500ms`, `10s`, `5m`, `1h`, `1d` to milliseconds; `undefined` when it is none of these. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^([0-9]{1,10})(ms|s|m|h|d)$/.exec(text)
  if (!match) return undefined
  const ms = Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? Number.NaN)
  return ms <= MAX_DURATION_MS ? ms : undefined
}

const UNIT_BYTES: Record<string, number> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }

/** `512B`, `64KiB`, `100MiB`, `1GiB` to bytes; `undefined` when it is none of these. */
export function parseSizeBytes(text: string): number | undefined {
  const match = /^([0-9]{1,9})(B|KiB|MiB|GiB|TiB)$/.exec(text)
  return match ? Number(match[1]) * (UNIT_BYTES[match[2] ?? ''] ?? Number.NaN) : undefined
}

export interface ListenAddress {
  /** An IP literal, without brackets. */
  readonly host: string
  /** 0 lets the system choose. */
  readonly port: number
  /** Speaks TLS to its clients; paths of PEM files. With `clientCa` clients must have a certificate from it. */
  readonly tls?:
    { readonly cert: string; readonly key: string; readonly clientCa?: string | undefined } | undefined
  /** A listening socket that the process was given: it is used, and nothing is bound. Not of the configuration. */
  readonly fd?: number | undefined
  /** Connections from these blocks begin with a PROXY header, which names the client. */
  readonly proxyProtocol?: { readonly from: readonly AddressBlock[] } | undefined
  /** Serves raw TLS that was redirected here; its ClientHello names the host. */
  readonly transparent?: true
}

/** `127.0.0.1:3128`, `[::1]:3128` or `localhost:3128` (which is 127.0.0.1). */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(0|[1-9][0-9]{0,4})$/.exec(text)
  if (!match) return undefined
  const port = Number(match[3])
  if (port > 65_535) return undefined
  if (match[1] !== undefined) return isIPv6Literal(match[1]) ? { host: match[1], port } : undefined
  const host = match[2] === 'localhost' ? '127.0.0.1' : (match[2] ?? '')
  return isIPv4Literal(host) ? { host, port } : undefined
}

export interface SyslogAddress {
  readonly protocol: 'tcp' | 'tls' | 'udp'
  readonly host: string
  readonly port: number
}

/** RFC 5424 section 6.2.1, those that suit. */
const FACILITIES: Readonly<Record<string, number>> = {
  user: 1,
  daemon: 3,
  auth: 4,
  authpriv: 10,
  audit: 13,
}

/** `local0` to `local7`, `daemon`, `auth`, `authpriv`, `audit` or `user`, as the number that stands for it. */
export function parseFacility(text: string): number | undefined {
  const [, local] = /^local([0-7])$/.exec(text) ?? []
  return local === undefined ? FACILITIES[text] : 16 + Number(local)
}

const SYSLOG_PORTS = { tcp: 514, tls: 6514, udp: 514 } as const

/** `tcp://127.0.0.1:514`, `tls://logs.example.com` (port 6514), `udp://[::1]`. */
export function parseSyslogAddress(text: string): SyslogAddress | undefined {
  const match = /^(tcp|tls|udp):\/\/(?:\[([^\]]+)\]|([A-Za-z0-9._-]+))(?::([1-9][0-9]{0,4}))?$/.exec(text)
  if (!match) return undefined
  const [, scheme, ipv6, name, digits] = match
  const protocol = scheme === 'tls' || scheme === 'udp' ? scheme : 'tcp'
  const port = digits === undefined ? SYSLOG_PORTS[protocol] : Number(digits)
  if (port > 65_535 || (ipv6 !== undefined && !isIPv6Literal(ipv6))) return undefined
  return { protocol, host: ipv6 ?? name ?? '', port }
}

export function formatListenAddress({ host, port }: ListenAddress): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}
