/** squid.conf. Names are matched as text (`-n`): a CONNECT to an address must not be looked up backwards into a name. */
import { prohibitedBlocks } from '../policy/addresses.ts'
import type { HostPattern } from '../policy/host-pattern.ts'
import { onPort, portsOf, type Plan } from './plan.ts'
import { comment, GAPS, heading, text, type Rendering } from './rendering.ts'

export function renderSquid(plan: Plan): Rendering {
  const nameservers = plan.resolvers.filter(({ port }) => port === 53).map(({ address }) => address)
  const elsewhere = plan.resolvers
    .filter(({ port }) => port !== 53)
    .map(({ address, port }) => `${address} ${port}`)
  const gaps = [
    `${GAPS.sni} (ssl_bump peek with ssl::server_name gets near, with squid-openssl and a certificate.)`,
    'It checks the addresses of a name before it dials, but may dial a later answer.',
    'It keeps every DNS answer, and a missing name too, for at least a minute (negative_dns_ttl).',
    'An access.log line has no rule and no reason.',
    ...(elsewhere.length > 0
      ? [`It asks name servers on port 53 only, so not these of dns.servers: ${elsewhere.join(', ')}.`]
      : []),
  ]
  // `dst` matches when any address of a name does, so the denial has no exceptions: they are not in the blocks.
  const { ipv4, ipv6, ipv6Outside } = prohibitedBlocks(plan.permittedBlocks)
  return text(
    comment('#', heading(plan, 'squid', gaps)),
    '\nhttp_port 127.0.0.1:3128\n',
    ...(nameservers.length > 0 ? [`dns_nameservers ${nameservers.join(' ')}\n`] : []),
    '\n',
    ...portsOf(plan).map((port) => lists(plan, port)),
    '\n# Addresses that are nobody on the internet: a name may not point inside.\n',
    ...[...ipv4, ...ipv6, ...ipv6Outside].map((block) => `acl sallyport_inside dst ${block}\n`),
    '\nhttp_access deny !CONNECT\n',
    ...portsOf(plan).map((port) => verdicts(plan, port)),
    'http_access deny all\n',
    'cache deny all\n',
    'always_direct allow all\n',
  )
}

function lists(plan: Plan, port: number): string {
  const hosts = (items: readonly { readonly host: HostPattern }[]): readonly HostPattern[] =>
    items.map(({ host }) => host)
  return [
    `acl sallyport_port_${port} port ${port}\n`,
    ...names(`sallyport_allow_${port}`, hosts(onPort(plan.allow, port))),
    ...names(`sallyport_deny_${port}`, hosts(onPort(plan.exceptions, port))),
  ].join('')
}

function verdicts(plan: Plan, port: number): string {
  const on = `sallyport_port_${port}`
  const denied = onPort(plan.exceptions, port).length > 0
  return (
    (denied ? `http_access deny ${on} sallyport_deny_${port}\n` : '') +
    // The name first: a denied one must not be resolved.
    `http_access deny ${on} sallyport_allow_${port} sallyport_inside\n` +
    `http_access allow ${on} sallyport_allow_${port}\n`
  )
}

/** Expressions for all of them: one list has one type, and `.x` of dstdomain would match x too. */
function names(acl: string, hosts: readonly HostPattern[]): readonly string[] {
  return hosts.map((host) => {
    const dots = (name: string): string => name.replaceAll('.', String.raw`\.`)
    const expression =
      host.kind === 'exact' ? `^${dots(host.hostname)}$` : String.raw`^([a-z0-9_-]+\.)+${dots(host.apex)}$`
    return `acl ${acl} dstdom_regex -n -i ${expression}\n`
  })
}
