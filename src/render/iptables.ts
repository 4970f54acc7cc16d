/**
 * iptables: the same frame as nftables', as two chains that nothing jumps to yet, in one file for both families. A name
 * given to iptables would be resolved once, at load: none is.
 */
import { isIPv4Literal, isIPv6Literal } from '../policy/authority.ts'
import { nameOf, portsOf, type Plan } from './plan.ts'
import { comment, GAPS, heading, text, type RenderOptions, type Rendering } from './rendering.ts'

export function renderIptables(plan: Plan, options: RenderOptions): Rendering {
  return options.redirect === undefined ? frame(plan, options) : redirect(plan, options.redirect, options)
}

const HOW = [
  'Load it for both families, then once:  iptables -C OUTPUT -j CHAIN || iptables -A OUTPUT -j CHAIN',
  'Always with --noflush: without it, every other rule of these tables goes.',
]

function frame(plan: Plan, { gateUid }: RenderOptions): Rendering {
  const gaps = [
    'It cannot hold names: SALLYPORT-HOSTS is empty until something fills it, and nothing takes an address out at its TTL. ' +
      '`sallyport firewall nftables` does both; iptables has no timeouts without ipset.',
    'Loading it again empties SALLYPORT-HOSTS: until it is filled again, only the gate makes new connections.',
    'It does not know the server name: every site on an allowed address can be reached by those in the list.',
    GAPS.record,
  ]
  const ports = portsOf(plan).join(',')
  return text(
    comment('#', heading(plan, 'iptables', gaps)),
    comment('#', [
      'iptables-restore --noflush FILE && ip6tables-restore --noflush FILE',
      ...HOW.map((line) => line.replaceAll('CHAIN', 'SALLYPORT-EGRESS')),
      'An address is added as: iptables -A SALLYPORT-HOSTS -d 203.0.113.7 -p tcp --dport 443 -j ACCEPT',
      ...plan.allow.map((entry) => `allowed: ${nameOf(entry)} port ${entry.port}`),
    ]),
    '*filter\n:SALLYPORT-EGRESS - [0:0]\n:SALLYPORT-HOSTS - [0:0]\n',
    ...[
      '-m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT',
      '-o lo -j ACCEPT',
      '-p icmp -j ACCEPT',
      '-p icmpv6 -j ACCEPT',
      ...nameservers(plan),
      `-p tcp -m multiport --dports ${ports} -m owner --uid-owner ${gateUid} -j ACCEPT`,
      `-p tcp -m multiport --dports ${ports} -m conntrack --ctstate NEW -j SALLYPORT-HOSTS`,
      '-m limit --limit 10/minute -j LOG --log-prefix "sallyport dropped: "',
      '-j DROP',
    ].map((rule) => append('SALLYPORT-EGRESS', rule)),
    'COMMIT\n',
  )
}

/** A rule of one family says so, and the other family's program passes over it. */
function append(chain: string, rule: string): string {
  const family = rule.includes('-p icmpv6') ? '-6 ' : rule.includes('-p icmp ') ? '-4 ' : ''
  return rule.startsWith('-4 ') || rule.startsWith('-6 ')
    ? `${rule.slice(0, 3)}-A ${chain} ${rule.slice(3)}\n`
    : `${family}-A ${chain} ${rule}\n`
}

function nameservers({ resolvers }: Plan): readonly string[] {
  const both = (where: string, port: number): readonly string[] =>
    ['udp', 'tcp'].map((protocol) => `${where}-p ${protocol} --dport ${port} -j ACCEPT`)
  if (resolvers.length === 0) return both('', 53)
  return resolvers.flatMap(({ address, port }) =>
    both(`${isIPv6Literal(address) ? '-6' : '-4'} -d ${address} `, port),
  )
}

function redirect(plan: Plan, who: number | 'all', { gateUid, transparent }: RenderOptions): Rendering {
  const users = who === 'all' ? '' : `-m owner --uid-owner ${who} `
  const other = portsOf(plan).filter((port) => port !== 443)
  const gaps =
    other.length > 0 ? [`It redirects port 443 only; the policy also has ${other.join(', ')}.`] : []
  const v4 = isIPv4Literal(transparent.host)
  const [ours, theirs] = v4 ? ['-4', '-6'] : ['-6', '-4']
  const gate = `-m owner --uid-owner ${gateUid} -j RETURN`
  return text(
    comment('#', heading(plan, 'iptables', gaps)),
    comment('#', [
      `Sends TLS of ${who === 'all' ? 'every user' : `user ${who}`} to the transparent listener of the gate; the gate itself ` +
        `(user ${gateUid}) goes out.`,
      'iptables-restore --noflush FILE && ip6tables-restore --noflush FILE',
      HOW[0]?.replace('-C OUTPUT', '-t nat -C OUTPUT').replace('-A OUTPUT', '-t nat -A OUTPUT') ?? '',
      'with SALLYPORT-REDIRECT for CHAIN, and the same without `-t nat` for SALLYPORT-DIRECT.',
      HOW[1] ?? '',
    ]),
    '*nat\n:SALLYPORT-REDIRECT - [0:0]\n',
    `-A SALLYPORT-REDIRECT ${gate}\n`,
    '-A SALLYPORT-REDIRECT -o lo -j RETURN\n',
    `${ours} -A SALLYPORT-REDIRECT ${users}-p tcp --dport 443 -j REDIRECT --to-ports ${transparent.port}\n`,
    'COMMIT\n*filter\n:SALLYPORT-DIRECT - [0:0]\n',
    `-A SALLYPORT-DIRECT ${gate}\n`,
    '-A SALLYPORT-DIRECT -o lo -j RETURN\n',
    `${theirs} -A SALLYPORT-DIRECT ${users}-p tcp --dport 443 -j REJECT --reject-with tcp-reset\n`,
    `-A SALLYPORT-DIRECT ${users}-p udp --dport 443 -j REJECT\n`,
    'COMMIT\n',
  )
}
