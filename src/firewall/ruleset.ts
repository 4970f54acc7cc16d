/**
 * The nftables rules, as text for `nft -f -`. Pure. The table and its chains are the same whatever DNS says; what changes
 * are the elements of two sets, each with a lifetime after which the kernel takes it out by itself: whoever keeps them
 * equal to DNS may die, and what it let in does not stay.
 */
import { isIPv6Literal } from '../policy/authority.ts'
import { formatRemoval, makeStamp } from './own-table.ts'
import { setOf } from './set-of.ts'

export interface FirewallSettings {
  /** The table in family inet; all that is ever touched. */
  readonly table: string
  /** Names or numbers: what processes of these users send is filtered. */
  readonly users: readonly string[]
  /** What comes in from these interfaces to be passed on is filtered; `br-*` is every one that starts so. */
  readonly interfaces: readonly string[]
  /** `related`: new connections from outside are dropped, too. */
  readonly ingress: 'any' | 'related'
  /** How long an address stays after the TTL of the answer that named it. */
  readonly graceMs: number
  /** Dropped packets go to the kernel's log. */
  readonly log: boolean
}

export interface Ruleset extends FirewallSettings {
  /** DNS servers that may be asked: `10.0.0.53`, `10.0.0.53:5353`, `[2001:db8::53]:53`. */
  readonly servers: readonly string[]
  /** Hash of the policy that the addresses come from. */
  readonly policy: string
}

/** One address that may be connected to on one port, for a while. */
export interface Element {
  readonly address: string
  readonly port: number
  readonly timeoutMs: number
}

/**
 * The whole table. Loading it again changes nothing but the rules somebody has altered: sets and counters keep what is in
 * them.
 */
export function formatTable(ruleset: Ruleset): string {
  return [
    `# policy ${ruleset.policy}`,
    `add table inet ${ruleset.table}`,
    `flush table inet ${ruleset.table}`,
    ...declaration(ruleset),
  ].join('\n')
}

/** The same in place of a table that has this name: counters and addresses of another policy go with it. */
export function formatReplacement(ruleset: Ruleset): string {
  return [`# policy ${ruleset.policy}`, formatRemoval(ruleset.table), ...declaration(ruleset)].join('\n')
}

/**
 * Lets the elements in, or those that are there stay longer. Only deleting and adding sets a new lifetime on every kernel,
 * and only what is there can be deleted; as one transaction they are never away.
 */
export function formatElements(table: string, elements: readonly Element[]): string {
  const families = [
    ['allowed4', elements.filter(({ address }) => !address.includes(':'))],
    ['allowed6', elements.filter(({ address }) => address.includes(':'))],
  ] as const
  return families
    .flatMap(([set, members]) => {
      if (members.length === 0) return []
      const keys = members.map(({ address, port }) => `${address} . ${port}`)
      const timed = members.map(
        ({ timeoutMs }, index) => `${keys[index]} timeout ${formatTimeout(timeoutMs)}`,
      )
      const list = (entries: readonly string[]): string => `{\n  ${entries.join(',\n  ')}\n}`
      return [
        `add element inet ${table} ${set} ${list(timed)}`,
        `delete element inet ${table} ${set} ${list(keys)}`,
        `add element inet ${table} ${set} ${list(timed)}`,
      ]
    })
    .join('\n')
}

/** Of which settings and policy the table is. */
export function stampOf(ruleset: Ruleset): string {
  return makeStamp('policy', [ruleset.policy, ...chains(ruleset)])
}

/** Kernel timers count from one millisecond; nft writes seconds and milliseconds apart. */
function formatTimeout(ms: number): string {
  const whole = Math.max(1, Math.ceil(ms))
  const [seconds, rest] = [Math.floor(whole / 1000), whole % 1000]
  return `${seconds > 0 ? `${seconds}s` : ''}${rest > 0 ? `${rest}ms` : ''}`
}

function declaration(ruleset: Ruleset): readonly string[] {
  return [
    `table inet ${ruleset.table} {`,
    '  set allowed4 { type ipv4_addr . inet_service; flags timeout; }',
    '  set allowed6 { type ipv6_addr . inet_service; flags timeout; }',
    ...chains(ruleset),
    `  chain ${stampOf(ruleset)} {`,
    '  }',
    '}',
  ]
}

function chains(ruleset: Ruleset): readonly string[] {
  const { users, interfaces, ingress } = ruleset
  const everything = users.length === 0 && interfaces.length === 0
  return [
    '  counter dropped {',
    '  }',
    ...chain('egress', egress(ruleset)),
    ...(everything || users.length > 0 ? chain('output', output(users)) : []),
    ...(interfaces.length > 0 ? chain('forward', forward(interfaces, ingress)) : []),
    ...(everything && ingress === 'related' ? chain('input', INPUT) : []),
  ]
}

function chain(name: string, rules: readonly string[]): readonly string[] {
  return [`  chain ${name} {`, ...rules.map((rule) => `    ${rule}`), '  }']
}

/** New connections go to the sets and to DNS; what belongs to one that is open passes. */
function egress({ servers, log }: Ruleset): readonly string[] {
  const dns = servers.map(parseServer)
  const ask = (family: 'ip' | 'ip6', keys: readonly string[]): readonly string[] =>
    keys.length === 0
      ? []
      : ['udp', 'tcp'].map((protocol) => `${family} daddr . ${protocol} dport { ${keys.join(', ')} } accept`)
  return [
    'ct state established,related accept',
    ...ask(
      'ip',
      dns.flatMap(({ address, key }) => (address.includes(':') ? [] : [key])),
    ),
    ...ask(
      'ip6',
      dns.flatMap(({ address, key }) => (address.includes(':') ? [key] : [])),
    ),
    'ct state new ip daddr . tcp dport @allowed4 accept',
    'ct state new ip6 daddr . tcp dport @allowed6 accept',
    ...(log ? ['limit rate 10/second burst 20 packets log prefix "sallyport dropped: "'] : []),
    DROP,
  ]
}

const DROP = 'counter name "dropped" drop'

/** What is for this machine itself; a redirected packet has its new address, and still the old interface. */
const TO_ITSELF = ['oifname "lo" accept', 'ip daddr 127.0.0.0/8 accept', 'ip6 daddr ::1 accept']

const NEIGHBOURS = 'nd-neighbor-solicit, nd-neighbor-advert'

function output(users: readonly string[]): readonly string[] {
  const hook = 'type filter hook output priority filter; policy accept;'
  if (users.length > 0) return [hook, ...TO_ITSELF, `meta skuid ${setOf(users)} jump egress`]
  return [
    hook,
    ...TO_ITSELF,
    // Without these the link itself would go: neighbours, routers, the address.
    `icmpv6 type { ${NEIGHBOURS}, nd-router-solicit, mld-listener-report, mld2-listener-report } accept`,
    'udp sport 68 udp dport 67 accept',
    'udp sport 546 udp dport 547 accept',
    'jump egress',
  ]
}

function forward(interfaces: readonly string[], ingress: 'any' | 'related'): readonly string[] {
  const names = setOf(interfaces)
  return [
    'type filter hook forward priority filter; policy accept;',
    `iifname ${names} jump egress`,
    ...(ingress === 'related'
      ? [`oifname ${names} ct state established,related accept`, `oifname ${names} ${DROP}`]
      : []),
  ]
}

const INPUT = [
  'type filter hook input priority filter; policy accept;',
  'iifname "lo" accept',
  'ct state established,related accept',
  `icmpv6 type { ${NEIGHBOURS}, nd-router-advert, mld-listener-query } accept`,
  'udp sport 67 udp dport 68 accept',
  'udp sport 547 udp dport 546 accept',
  DROP,
]

/** As the schema lets them pass. */
export function parseServer(text: string): { readonly address: string; readonly key: string } {
  const bracketed = /^\[(.+)\](?::([0-9]+))?$/.exec(text)
  const [address = '', port = '53'] = bracketed
    ? [bracketed[1], bracketed[2]]
    : isIPv6Literal(text)
      ? [text]
      : text.split(':')
  return { address, key: `${address} . ${port}` }
}
