/**
 * nftables: the frame of the page's rules, new connections out to sets of addresses, replies in. nft has no names, so
 * the sets are empty: `sallyport firewall nftables` keeps them equal to DNS. What can be said for good is which user
 * may go out at all, and who is sent to the gate instead.
 */
import { isIPv4Literal, isIPv6Literal } from '../policy/authority.ts'
import { nameOf, portsOf, type Plan } from './plan.ts'
import { comment, GAPS, heading, text, type RenderOptions, type Rendering } from './rendering.ts'

export function renderNftables(plan: Plan, options: RenderOptions): Rendering {
  return options.redirect === undefined ? frame(plan, options) : redirect(plan, options.redirect, options)
}

function frame(plan: Plan, { gateUid }: RenderOptions): Rendering {
  const gaps = [
    'It cannot hold names: the sets are empty until something fills them with what DNS says now. ' +
      '`sallyport firewall nftables --watch` keeps a table like this one equal to DNS; use one of the two, not both.',
    'It does not know the server name: every site on an allowed address can be reached by those in the sets.',
    GAPS.record,
  ]
  const ports = `{ ${portsOf(plan).join(', ')} }`
  return text(
    '#!/usr/sbin/nft -f\n',
    comment('#', heading(plan, 'nftables', gaps)),
    comment('#', [
      'This closes everything that leaves this machine, time and updates too. Look through it before `nft -f`.',
      'An address is added as: nft add element inet sallyport_static hosts4 { 203.0.113.7 . 443 timeout 60s }',
    ]),
    `
table inet sallyport_static
delete table inet sallyport_static
table inet sallyport_static {
${comment(
  '    #',
  plan.allow.map((entry) => `${nameOf(entry)} port ${entry.port}`),
)}    set hosts4 {
        type ipv4_addr . inet_service
        flags timeout
    }

    set hosts6 {
        type ipv6_addr . inet_service
        flags timeout
    }

    chain egress {
        type filter hook output priority filter; policy drop;
        ct state established,related accept
        oifname "lo" accept
        meta l4proto { icmp, ipv6-icmp } accept
${nameservers(plan)}        meta skuid ${gateUid} tcp dport ${ports} ct state new counter accept comment "the gate, which knows names"
        ip daddr . tcp dport @hosts4 ct state new counter accept
        ip6 daddr . tcp dport @hosts6 ct state new counter accept
        limit rate 10/minute log prefix "sallyport dropped: "
        counter comment "dropped"
    }

    chain ingress {
        type filter hook input priority filter; policy accept;
        ct state established,related accept comment "all that an outgoing connection needs"
    }
}
`,
  )
}

function nameservers({ resolvers }: Plan): string {
  const rule = (where: string, port: number): string =>
    `        ${where}meta l4proto { tcp, udp } th dport ${port} accept\n`
  if (resolvers.length === 0) {
    return `        # dns.servers is empty: any resolver. Name yours there, and render again.\n${rule('', 53)}`
  }
  return resolvers
    .map(({ address, port }) => rule(`${isIPv6Literal(address) ? 'ip6' : 'ip'} daddr ${address} `, port))
    .join('')
}

function redirect(plan: Plan, who: number | 'all', { gateUid, transparent }: RenderOptions): Rendering {
  const users = who === 'all' ? '' : `meta skuid ${who} `
  const other = portsOf(plan).filter((port) => port !== 443)
  const gaps = [
    ...(other.length > 0 ? [`It redirects port 443 only; the policy also has ${other.join(', ')}.`] : []),
    'It does not reach those who go out on another port: close those with a default of drop.',
  ]
  // In the output hook `redirect` means 127.0.0.1 or ::1; a listener elsewhere needs dnat and a route.
  const v4 = isIPv4Literal(transparent.host)
  const [family, loopback, other6] = v4 ? ['ip', '127.0.0.0/8', 'ipv6'] : ['ip6', '::1', 'ipv4']
  return text(
    '#!/usr/sbin/nft -f\n',
    comment('#', heading(plan, 'nftables', gaps)),
    comment('#', [
      `Sends TLS of ${who === 'all' ? 'every user' : `user ${who}`} to the transparent listener of the gate; the gate itself ` +
        `(user ${gateUid}) goes out.`,
      `Needs \`transparent: ${v4 ? transparent.host : `[${transparent.host}]`}:${transparent.port}\` in the gate's configuration.`,
    ]),
    `
table inet sallyport_redirect_static
delete table inet sallyport_redirect_static
table inet sallyport_redirect_static {
    chain output_nat {
        type nat hook output priority -100; policy accept;
        meta skuid ${gateUid} return
        ${family} daddr ${loopback} return
        ${users}meta nfproto ${v4 ? 'ipv4' : 'ipv6'} tcp dport 443 redirect to :${transparent.port}
    }

    chain output {
        type filter hook output priority filter; policy accept;
        meta skuid ${gateUid} return
        oifname "lo" return
        # The listener is not there in this family, and QUIC has no TLS over TCP to look into.
        ${users}meta nfproto ${other6} tcp dport 443 reject with tcp reset
        ${users}udp dport 443 reject
    }
}
`,
  )
}
