/**
 * Google Cloud Secure Web Proxy: a gateway security policy, and rules over session matchers that name host and port.
 * Documents for `gcloud network-security … import`, one after another.
 */
import { onPort, portsOf, type Allowance, type Exception, type Plan } from './plan.ts'
import { GAPS, heading, type Rendering } from './rendering.ts'
import { yamlText } from './yaml.ts'

const PLACE = 'projects/PROJECT/locations/REGION'
/**
 * An earlier edition of Google's CEL reference allows 12 logical operators in an expression; the present one states no
 * limit. Ten hosts take nine, and one goes to the port.
 */
const MOST_HOSTS = 10

export function renderGcpSecureWebProxy(plan: Plan): Rendering {
  const gaps = [
    'Put your own PROJECT and REGION in. The first document is for `gcloud network-security gateway-security-policies ' +
      'import sallyport`, each further one for `gcloud network-security gateway-security-policies rules import RULE`.',
    'As an explicit proxy it sees the host of the CONNECT, as a next hop that of the ClientHello, never both without TLS ' +
      'inspection. Give the gateway only the ports of the rules.',
    `A rule has at most ${MOST_HOSTS} hosts: an earlier edition of the reference allows 12 logical operators, the present one ` +
      'states no limit.',
    GAPS.sni,
    GAPS.ttl,
    GAPS.guard,
  ]
  const denials = plan.exceptions.map((entry, index) =>
    rule(plan, `deny-${index + 1}`, 100 + index, 'DENY', [entry]),
  )
  const allowances = portsOf(plan)
    .flatMap((port) =>
      inGroups(onPort(plan.allow, port)).map((entries, group) => ({
        name: `allow-${port}${group === 0 ? '' : `-${group + 1}`}`,
        entries,
      })),
    )
    .map(({ name, entries }, index) => rule(plan, name, 10_000 + index, 'ALLOW', entries))
  return yamlText(heading(plan, 'gcp-secure-web-proxy', gaps), [
    {
      name: `${PLACE}/gatewaySecurityPolicies/sallyport`,
      description: `Sallyport policy ${plan.hash}, rendered ${plan.date}`,
    },
    ...denials,
    ...allowances,
  ])
}

type Entries<T = Allowance | Exception> = readonly [T, ...T[]]

function inGroups(entries: readonly Allowance[]): readonly Entries<Allowance>[] {
  const [first, ...rest] = entries.slice(0, MOST_HOSTS)
  return first ? [[first, ...rest], ...inGroups(entries.slice(MOST_HOSTS))] : []
}

function rule(
  plan: Plan,
  name: string,
  priority: number,
  basicProfile: 'ALLOW' | 'DENY',
  /** Of one port. */
  entries: Entries,
): unknown {
  const hosts = entries.map(({ host }) =>
    host.kind === 'exact' ? `host() == '${host.hostname}'` : `host().endsWith('.${host.apex}')`,
  )
  return {
    name: `${PLACE}/gatewaySecurityPolicies/sallyport/rules/sallyport-${name}`,
    description: `Sallyport policy ${plan.hash}, rendered ${plan.date}`,
    enabled: true,
    priority,
    basicProfile,
    sessionMatcher: `(${hosts.join(' || ')}) && destination.port == ${entries[0].port}`,
  }
}
