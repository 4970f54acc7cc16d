/**
 * The shape of the configuration (YAML), with every default. Unknown keys are errors: a loader that forgives
 * them lets a misspelt rule vanish. Text becomes canonical values here (milliseconds, blocks, patterns), so that
 * nothing later sees the raw spelling. It is long because it is one schema, with each key beside its default.
 */
import { z } from 'zod'
import { isIPv4Literal, isIPv6Literal, parsePort } from '../policy/authority.ts'
import { inBlocks, parseBlock } from '../policy/addresses.ts'
import { isUserName } from '../policy/clients.ts'
import { parseHostPattern } from '../policy/host-pattern.ts'
import { parseHostname } from '../policy/hostname.ts'
import {
  parseDurationMs,
  parseFacility,
  parseListenAddress,
  parseSizeBytes,
  parseSyslogAddress,
  type ListenAddress,
} from './units.ts'

/** A text that `parse` understands; `undefined` from it becomes an issue saying what was expected. */
function parsed<T>(parse: (text: string) => T | undefined, expected: string) {
  return z.string({ error: `expected ${expected}` }).transform((text, context): T => {
    const value = parse(text)
    if (value !== undefined) return value
    context.issues.push({ code: 'custom', input: text, message: `expected ${expected}, found \`${text}\`` })
    return z.NEVER
  })
}

const text = () => z.string().min(1, { error: 'is empty; write something, or leave the key out' })
const duration = () =>
  parsed(parseDurationMs, 'a duration such as `500ms`, `10s`, `5m` or `1h` (at most 24d)')
const positiveDuration = () =>
  duration().refine((ms) => ms > 0, {
    error: 'must be longer than zero: without this limit a connection could stay for ever',
  })
const listenAddress = parsed(
  parseListenAddress,
  'an IP address and port such as `127.0.0.1:3128` or `[::1]:3128` (`0.0.0.0:3128` for every interface)',
)
const isMapping = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && !Array.isArray(value)
const cidr = parsed(
  parseBlock,
  'an address block such as `10.0.0.0/8` or `fd00::/8`, without bits set behind the prefix',
)
const ADDRESS_EXPECTED =
  'expected an address such as `127.0.0.1:3128`, or `{ address: 127.0.0.1:3128, tls: …, proxyProtocol: … }`'
const listener = z
  .strictObject({
    address: listenAddress,
    tls: z.strictObject({ cert: text(), key: text(), clientCa: text().optional() }).optional(),
    proxyProtocol: z
      .strictObject({ from: z.array(cidr).min(1, { error: 'list the addresses of the load balancers' }) })
      .optional(),
  })
  .refine(({ tls, proxyProtocol }) => !tls || !proxyProtocol, {
    error: '`tls` and `proxyProtocol` cannot be on one listener in this version; use two listeners',
  })
  .transform(({ address, ...more }): ListenAddress => ({ ...address, ...more }))
/** A block that may be dialled in spite of the registries: narrow enough not to be the end of the guard. */
const narrowCidr = cidr.refine((block) => block.prefixLength >= (block.text.includes(':') ? 7 : 8), {
  error: 'is so broad that nothing would be guarded; name the blocks in question, such as `10.1.2.0/24`',
})
const ipLiteral = parsed(
  (text) => (isIPv4Literal(text) || isIPv6Literal(text) ? text : undefined),
  'an IP address',
)
const dnsServer = parsed(
  (text) => (isDnsServer(text) ? text : undefined),
  'the address of a DNS server such as `10.0.0.53`, `127.0.0.1:5353` or `[::1]:5353`',
)
const count = () => z.int({ error: 'expected a whole number' }).min(1, { error: 'must be at least 1' })

function isDnsServer(text: string): boolean {
  const match = /^(?:\[([^\]]+)\]|([^:]+))(?::([0-9]+))?$/.exec(text)
  if (!match) return isIPv6Literal(text)
  const host = match[1] ?? match[2] ?? ''
  return (
    (isIPv4Literal(host) || isIPv6Literal(host)) &&
    (match[3] === undefined || parsePort(match[3]) !== undefined)
  )
}

function isCanonicalHostname(name: string): boolean {
  const result = parseHostname(name)
  return result.ok && result.hostname === name
}

function hostPattern(use: 'allow' | 'deny') {
  return z.string({ error: 'expected a host name' }).transform((text, context) => {
    const result = parseHostPattern(text, use)
    if (result.ok) return result.pattern
    context.issues.push({
      code: 'custom',
      input: text,
      message: `\`${text}\`: ${result.problem}; ${result.advice}`,
    })
    return z.NEVER
  })
}

const sni = z.enum(['require', 'off'])
const ruleError = (issue: { input?: unknown }) =>
  typeof issue.input === 'string'
    ? `a rule is a mapping; write \`{ host: ${issue.input}, port: 443 }\``
    : undefined
const port = z.int({ error: 'expected a port number from 1 to 65535' }).min(1).max(65_535)
const lastDay = z.iso.date({
  error: 'expected a date such as `2027-01-31`, the last day on which the rule applies',
})

const allowRule = z
  .strictObject(
    {
      host: hostPattern('allow'),
      port: port.default(443),
      owner: text().optional(),
      reason: text().optional(),
      expires: lastDay.optional(),
      sni: sni.optional(),
    },
    { error: ruleError },
  )
  .refine((rule) => rule.sni !== 'off' || (rule.owner !== undefined && rule.reason !== undefined), {
    error: '`sni: off` lets another tenant of the same address be reached; say `owner` and `reason` for it',
  })

const denyRule = z.strictObject(
  {
    host: hostPattern('deny'),
    port: port.optional(),
    owner: text().optional(),
    reason: text().optional(),
    expires: lastDay.optional(),
  },
  { error: ruleError },
)

const DEFAULT_ADMIN: ListenAddress = { host: '127.0.0.1', port: 9128 }
const DEFAULT_PRESETS = ['chainguard-2024-05-14']
/** Just the preset names, readable even where the rest of the file is not. */
export const presetNames = z.object({
  policy: z.object({ presets: z.array(z.unknown()).default(DEFAULT_PRESETS) }).prefault({}),
})

const mode = z.enum(['enforce', 'report'])
const ipLiterals = z.enum(['deny', 'verify-sni'])

const policy = z.strictObject({
  mode: mode.default('enforce'),
  presets: z.array(z.string()).default(DEFAULT_PRESETS),
  allow: z.array(allowRule).default([]),
  deny: z.array(denyRule).default([]),
  sni: sni.default('require'),
  ipLiterals: ipLiterals.default('deny'),
  onRevoke: z.enum(['keep', 'close']).default('keep'),
  candidate: text().nullable().default(null),
})

/** A client's own policy: what it leaves out is as in the common one. */
const ownPolicy = z.strictObject({
  mode: mode.optional(),
  presets: z.array(z.string()).optional(),
  allow: z.array(allowRule).optional(),
  deny: z.array(denyRule).optional(),
  sni: sni.optional(),
  ipLiterals: ipLiterals.optional(),
})

const someOf = <T extends z.ZodType>(item: T) =>
  z.array(item).min(1, { error: 'is empty; list somebody, or leave the key out' })
const userName = parsed(
  (text) => (isUserName(text) ? text : undefined),
  'a user name of letters, digits and . _ @ -',
)
const clientRule = z
  .strictObject({
    name: z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
      error: 'expected a name of letters, digits and . _ -',
    }),
    from: someOf(cidr).optional(),
    users: z
      .union([z.literal('any'), someOf(userName)], { error: 'expected a list of user names, or `any`' })
      .optional(),
    certificates: someOf(text()).optional(),
    policy: ownPolicy.optional(),
  })
  .refine(({ from, users, certificates }) => from ?? users ?? certificates, {
    error: 'fits everybody; say `from`, `users` or `certificates`, or change the common `policy`',
  })

const clients = z.strictObject({
  allow: z
    .array(cidr)
    .min(1, { error: 'nobody could use the proxy; list at least one block' })
    .prefault(['127.0.0.0/8', '::1/128']),
  maxTunnelsPerClient: count().default(1024),
  passwords: text().nullable().default(null),
  rules: z.array(clientRule).default([]),
  others: z.enum(['policy', 'deny']).default('policy'),
})

const dns = z
  .strictObject({
    servers: z.array(dnsServer).default([]),
    timeout: positiveDuration().prefault('2s'),
    tries: count().max(10, { error: 'must be at most 10' }).default(2),
    hosts: z
      .record(
        z.string().refine(isCanonicalHostname),
        z.array(ipLiteral).min(1, { error: 'list at least one address' }),
      )
      .default({}),
    prefetch: z.boolean().default(true),
    staleOnError: duration().prefault('0s'),
    maxTtl: positiveDuration().prefault('1h'),
    negativeTtl: duration().prefault('5s'),
  })
  .transform(({ timeout, staleOnError, maxTtl, negativeTtl, ...rest }) => ({
    ...rest,
    timeoutMs: timeout,
    staleOnErrorMs: staleOnError,
    maxTtlMs: maxTtl,
    negativeTtlMs: negativeTtl,
  }))

const limits = z
  .strictObject({
    connections: count().default(10_000),
    headTimeout: positiveDuration().prefault('10s'),
    dialTimeout: positiveDuration().prefault('10s'),
    helloTimeout: positiveDuration().prefault('10s'),
    idleTimeout: positiveDuration().prefault('15m'),
    lingerTimeout: positiveDuration().prefault('30s'),
    maxAge: duration().prefault('0s'),
    drainDelay: duration().prefault('0s'),
    drainTimeout: duration().prefault('25s'),
  })
  .transform((limits) => ({
    connections: limits.connections,
    headTimeoutMs: limits.headTimeout,
    dialTimeoutMs: limits.dialTimeout,
    helloTimeoutMs: limits.helloTimeout,
    idleTimeoutMs: limits.idleTimeout,
    lingerTimeoutMs: limits.lingerTimeout,
    maxAgeMs: limits.maxAge,
    drainDelayMs: limits.drainDelay,
    drainTimeoutMs: limits.drainTimeout,
  }))

const forward = z.strictObject({ absoluteForm: z.enum(['off', 'on']).default('off') })

export const firewallSchema = z.preprocess(
  (value) => (value === 'nftables' ? { type: value } : value),
  z
    .strictObject(
      {
        type: z.literal('nftables'),
        table: z
          .string()
          .regex(/^[A-Za-z][A-Za-z0-9_]{0,31}$/, { error: 'expected a name of letters, digits and _' })
          .default('sallyport'),
        users: z
          .array(
            z.union([
              z.int().min(0).transform(String),
              z.string().regex(/^(?:[A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10})$/, {
                error: 'expected the name or the number of a user',
              }),
            ]),
          )
          .default([]),
        interfaces: z
          .array(
            z.string().regex(/^[A-Za-z0-9_.:@-]{1,15}\*?$/, {
              error: 'expected the name of a network interface such as `docker0`, or `br-*`',
            }),
          )
          .default([]),
        resolvers: z.array(dnsServer).default([]),
        ingress: z.enum(['any', 'related']).default('any'),
        grace: positiveDuration().prefault('60s'),
        log: z.boolean().default(false),
      },
      { error: 'expected `nftables`, or `{ type: nftables, users: …, interfaces: … }`' },
    )
    .refine(
      ({ users, interfaces, ingress }) => ingress === 'any' || users.length === 0 || interfaces.length > 0,
      {
        error: '`ingress: related` has no meaning for users; leave it out, or name `interfaces`',
      },
    )
    .transform(({ grace, ...rest }) => ({ ...rest, graceMs: grace })),
)

/** What `firewall: nftables` stands for. */
export const FIREWALL_DEFAULTS = firewallSchema.parse('nftables')
export type FirewallConfig = z.output<typeof firewallSchema>

const MIN_FILE_BYTES = 64 * 1024
const auditFile = z.preprocess(
  // A plain path is the file with nothing else said.
  (value) => (typeof value === 'string' ? { path: value } : value),
  z
    .strictObject({
      path: text(),
      maxSize: parsed(parseSizeBytes, 'a size such as `500KiB`, `100MiB` or `1GiB`')
        .refine((bytes) => bytes >= MIN_FILE_BYTES, { error: 'must be at least 64KiB' })
        .nullable()
        .default(null),
      maxAge: positiveDuration()
        .refine((ms) => ms >= 60_000, { error: 'must be at least 1m' })
        .nullable()
        .default(null),
      keep: z
        .union([count(), z.literal('all')], { error: 'expected a whole number from 1 up, or `all`' })
        .default(14),
      fsync: duration().prefault('1s'),
    })
    .transform(({ path, maxSize, maxAge, keep, fsync }) => ({
      path,
      maxSizeBytes: maxSize ?? undefined,
      maxAgeMs: maxAge ?? undefined,
      keep: keep === 'all' ? undefined : keep,
      fsyncMs: fsync,
    })),
)

const syslog = z.preprocess(
  (value) => (typeof value === 'string' ? { address: value } : value),
  z
    .strictObject({
      address: parsed(
        parseSyslogAddress,
        'an address such as `tcp://127.0.0.1:514`, `tls://logs.example.com:6514` or `udp://127.0.0.1:514`',
      ),
      facility: parsed(
        parseFacility,
        'a facility such as `local0` (to `local7`), `daemon`, `auth`, `authpriv`, `audit` or `user`',
      ).prefault('local0'),
      ca: text().optional(),
      cert: text().optional(),
      key: text().optional(),
    })
    .refine(({ cert, key }) => (cert === undefined) === (key === undefined), {
      error: '`cert` and `key` go together',
    })
    .refine(({ address, ca, cert }) => address.protocol === 'tls' || (ca ?? cert) === undefined, {
      error: '`ca`, `cert` and `key` are for tls:// addresses',
    }),
)

const otlp = z.preprocess(
  (value) => (typeof value === 'string' ? { url: value } : value),
  z
    .strictObject({
      url: z.url({
        protocol: /^https?$/,
        error: 'expected a URL such as `http://127.0.0.1:4318/v1/logs`',
      }),
      headers: z.record(z.string(), z.string()).default({}),
      timeout: positiveDuration().prefault('10s'),
    })
    .transform(({ timeout, ...rest }) => ({ ...rest, timeoutMs: timeout })),
)

const audit = z.strictObject({
  stdout: z.boolean().default(true),
  file: auditFile.nullable().default(null),
  syslog: syslog.nullable().default(null),
  otlp: otlp.nullable().default(null),
  record: z.enum(['all', 'denied']).default('all'),
  fold: z
    .strictObject({ above: count().default(10), within: positiveDuration().prefault('10s') })
    .transform(({ above, within }) => ({ above, withinMs: within }))
    .nullable()
    .prefault({}),
  onError: z.enum(['deny', 'continue']).default('deny'),
})

const LOOPBACK = ['127.0.0.0/8', '::1/128'].flatMap((block) => parseBlock(block) ?? [])

/** Who has not said where it listens gets the usual place, and goes without where that is taken. */
const admin = z
  .strictObject({
    listen: listenAddress.nullable().optional(),
    token: z
      .string()
      .regex(/^[\x21-\x7e]{16,256}$/, {
        error:
          'expected 16 to 256 printable ASCII characters without spaces; `openssl rand -hex 32` makes some',
      })
      .nullable()
      .default(null),
    tokenFile: text().nullable().default(null),
    hosts: z
      .array(z.string().refine(isCanonicalHostname, { error: 'expected a host name in lower case' }))
      .default([]),
  })
  .superRefine(({ listen, token, tokenFile }, context) => {
    if (token !== null && tokenFile !== null) {
      context.addIssue({
        code: 'custom',
        path: ['tokenFile'],
        message: 'there is a `token` already; keep one',
      })
    }
    if (!listen || token !== null || tokenFile !== null || inBlocks(listen.host, LOOPBACK)) return
    const message =
      'others can reach this address; set `admin.token` or `admin.tokenFile`, or listen on 127.0.0.1'
    context.addIssue({ code: 'custom', path: ['listen'], message })
  })
  .transform(({ listen, ...rest }) => ({
    ...rest,
    listen: listen === undefined ? DEFAULT_ADMIN : listen,
    /** Whether the address is the file's own. */
    chosen: listen !== undefined,
  }))

export const configSchema = z.strictObject({
  listen: z
    .preprocess(
      (value) => (typeof value === 'string' || isMapping(value) ? [value] : value),
      z
        .array(z.union([listenAddress, listener], { error: ADDRESS_EXPECTED }), {
          error: 'expected an address such as `127.0.0.1:3128`, or a list of them',
        })
        .min(1, { error: 'list at least one address' }),
    )
    .prefault('127.0.0.1:3128'),
  transparent: z
    .preprocess(
      (value) => (typeof value === 'string' ? [value] : value),
      z.array(listenAddress, { error: 'expected an address such as `127.0.0.1:3129`, or a list of them' }),
    )
    .prefault([]),
  admin: admin.prefault({}),
  policy: policy.prefault({}),
  clients: clients.prefault({}),
  dns: dns.prefault({}),
  forward: forward.prefault({}),
  firewall: firewallSchema.nullable().default(null),
  addresses: z.strictObject({ allow: z.array(narrowCidr).default([]) }).prefault({}),
  limits: limits.prefault({}),
  audit: audit.prefault({}),
  workers: z
    .union([count(), z.literal('auto')], { error: 'expected a whole number from 1 up, or `auto`' })
    .default(1),
  wire: z.enum(['auto', 'kernel', 'portable']).default('auto'),
})

/** The configuration after parsing; durations in milliseconds. */
export type Settings = z.output<typeof configSchema>
