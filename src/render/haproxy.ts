/**
 * haproxy.cfg. HAProxy has no CONNECT: this is a door for TLS that is sent to it (by DNS, a route or a redirect), and the
 * name it lets through is the one in the ClientHello, which it also resolves. So name, address and server name agree.
 */
import { prohibitedBlocks } from '../policy/addresses.ts'
import { isIPv6Literal } from '../policy/authority.ts'
import { onPort, portsOf, type Exception, type Allowance, type Plan } from './plan.ts'
import { comment, heading, text, type Rendering } from './rendering.ts'

export function renderHaproxy(plan: Plan): Rendering {
  const gaps = [
    'It serves no CONNECT: clients have to be led here by DNS or by a redirect, not by HTTPS_PROXY.',
    'It resolves for each connection and does not keep answers by their TTL.',
    'It resolves A records only; add a second do-resolve with ipv6 where hosts have only AAAA.',
    'A client that is refused sees a reset, not a reason.',
  ]
  return text(
    comment('#', heading(plan, 'haproxy', gaps)),
    '\nglobal\n    log stdout format raw local0\n',
    '\ndefaults\n    mode tcp\n    log global\n    option tcplog\n    timeout connect 10s\n    timeout client 15m\n' +
      '    timeout server 15m\n',
    '\nresolvers sallyport\n',
    ...(plan.resolvers.length > 0
      ? plan.resolvers.map(({ address, port }, index) => {
          const at = isIPv6Literal(address) ? `[${address}]:${port}` : `${address}:${port}`
          return `    nameserver dns${index + 1} ${at}\n`
        })
      : ['    parse-resolv-conf\n']),
    '    timeout resolve 2s\n    timeout retry 2s\n',
    ...portsOf(plan).map((port) => door(plan, port)),
  )
}

function door(plan: Plan, port: number): string {
  const { ipv4 } = prohibitedBlocks(plan.permittedBlocks)
  const name = (entry: Allowance | Exception): string =>
    entry.host.kind === 'exact' ? `-m str ${entry.host.hostname}` : `-m end .${entry.host.apex}`
  const acl = (label: string, entries: readonly (Allowance | Exception)[]): readonly string[] =>
    entries.map((entry) => `    acl ${label} req.ssl_sni -i ${name(entry)}`)
  const denied = acl('denied', onPort(plan.exceptions, port))
  return [
    '',
    `frontend sallyport_${port}`,
    `    bind :${port}`,
    '    tcp-request inspect-delay 10s',
    ...acl('allowed', onPort(plan.allow, port)),
    ...denied,
    `    acl inside var(txn.sallyport_ip) -m ip ${ipv4.join(' ')}`,
    // Each waits for as much of the hello as it needs, at most the delay above; what has not come by then is not there.
    '    tcp-request content reject unless { req.ssl_hello_type 1 }',
    '    tcp-request content reject unless allowed',
    ...(denied.length > 0 ? ['    tcp-request content reject if denied'] : []),
    '    tcp-request content do-resolve(txn.sallyport_ip,sallyport,ipv4) req.ssl_sni,lower',
    '    tcp-request content reject unless { var(txn.sallyport_ip) -m found }',
    '    tcp-request content reject if inside',
    '    tcp-request content set-dst var(txn.sallyport_ip)',
    '    tcp-request content accept',
    `    default_backend sallyport_${port}`,
    '',
    `backend sallyport_${port}`,
    `    server named 0.0.0.0:${port}`,
    '',
  ].join('\n')
}
