/**
 * Google Cloud Secure Web Proxy: a gateway security policy, and rules over session matchers that name host and port.
 * Documents for `gcloud network-security … import`, one after another.
 */
import { onPort, portsOf, type Allowance, type Exception, type Plan } from './plan.ts'
import { GAPS, heading, type Rendering } from './rendering.ts'
import { yamlText } from './yaml.ts'

const PLACE = 'projects/PROJECT/locations/REGION'

export function renderGcpSecureWebProxy(plan: Plan): Rendering {
  const gaps = [
    'Put your own PROJECT and REGION in. The first document is for `gcloud network-security gateway-security-policies ' +
      'import sallyport`, each further one for `gcloud network-security gateway-security-policies rules import RULE`.',
    'The port is that of the gateway: give it only the ports of the rules. As an explicit proxy it sees the host of the ' +
      'CONNECT, as a next hop that of the ClientHello, never both without TLS inspection.',
    GAPS.sni,
    GAPS.ttl,
    GAPS.guard,
  ]
  const denials = plan.exceptions.map((entry, index) =>
    rule(plan, `deny-${index + 1}`, 100 + index, 'DENY', [entry]),
  )
  const allowances = portsOf(plan).map((port, index) =>
    rule(plan, `allow-${port}`, 10_000 + index, 'ALLOW', onPort(plan.allow, port)),
  )
  return yamlText(heading(plan, 'gcp-secure-web-proxy', gaps), [
    {
      name: `${PLACE}/gatewaySecurityPolicies/sallyport`,
      description: `Sallyport policy ${plan.hash}, rendered ${plan.date}`,
    },
    ...denials,
    ...allowances,
  ])
}

function rule(
  plan: Plan,
  name: string,
  priority: number,
  basicProfile: 'ALLOW' | 'DENY',
  entries: readonly (Allowance | Exception)[],
): unknown {
  return {
    name: `${PLACE}/gatewaySecurityPolicies/sallyport/rules/sallyport-${name}`,
    description: `Sallyport policy ${plan.hash}, rendered ${plan.date}`,
    enabled: true,
    priority,
    basicProfile,
    sessionMatcher: entries
      .map(({ host }) =>
        host.kind === 'exact' ? `host() == '${host.hostname}'` : `host().endsWith('.${host.apex}')`,
      )
      .join(' || '),
  }
}
