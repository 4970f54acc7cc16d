/** Azure Firewall: an ARM template with one rule collection group for a firewall policy that already exists. */
import { nameOf, type Allowance, type Exception, type Plan } from './plan.ts'
import { GAPS, heading, text, type Rendering } from './rendering.ts'

export function renderAzureFirewall(plan: Plan): Rendering {
  const gaps = [
    'For a client that sends TLS directly, it matches the ClientHello; with its explicit proxy, the CONNECT; never that ' +
      'both agree.',
    'A wildcard covers every depth below it, and never the name itself.',
    GAPS.guard,
    GAPS.record,
  ]
  const about = heading(
    plan,
    'azure-firewall',
    plan.allow.some(isWildcard) ? gaps : gaps.filter((gap) => !gap.startsWith('A wild')),
  )
  const collections = [
    ...(plan.exceptions.length > 0 ? [collection('sallyport-deny', 100, 'Deny', plan.exceptions)] : []),
    collection('sallyport-allow', 200, 'Allow', plan.allow),
  ]
  const template = {
    $schema: 'https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#',
    contentVersion: '1.0.0.0',
    metadata: { sallyport: about },
    parameters: {
      firewallPolicyName: { type: 'string' },
      sourceAddresses: { type: 'array', defaultValue: ['*'] },
    },
    resources: [
      {
        type: 'Microsoft.Network/firewallPolicies/ruleCollectionGroups',
        apiVersion: '2023-11-01',
        name: "[format('{0}/sallyport', parameters('firewallPolicyName'))]",
        properties: { priority: 300, ruleCollections: collections },
      },
    ],
  }
  return text(`${JSON.stringify(template, null, 2)}\n`)
}

function isWildcard({ host }: Allowance): boolean {
  return host.kind === 'subdomains'
}

function collection(
  name: string,
  priority: number,
  type: 'Allow' | 'Deny',
  entries: readonly (Allowance | Exception)[],
): unknown {
  return {
    ruleCollectionType: 'FirewallPolicyFilterRuleCollection',
    name,
    priority,
    action: { type },
    rules: entries.map((entry) => ({
      ruleType: 'ApplicationRule',
      name: `${nameOf(entry)}:${entry.port}`,
      description:
        'rules' in entry
          ? (entry.rules[0].reason ?? entry.rules[0].ruleset)
          : (entry.rule.reason ?? 'denied'),
      protocols: [{ protocolType: 'Https', port: entry.port }],
      targetFqdns: [nameOf(entry)],
      sourceAddresses: "[parameters('sourceAddresses')]",
      terminateTLS: false,
    })),
  }
}
