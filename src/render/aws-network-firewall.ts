/**
 * AWS Network Firewall: the request of `aws network-firewall create-rule-group --cli-input-json file://…`. Suricata
 * rules and not a domain list, because `.example.com` in a list also allows example.com itself.
 */
import { nameOf, type Allowance, type Exception, type Plan } from './plan.ts'
import { comment, GAPS, heading, text, type Rendering } from './rendering.ts'

/** Suricata's first number for rules of one's own. */
const FIRST_SID = 1_000_000

export function renderAwsNetworkFirewall(plan: Plan): Rendering {
  const gaps = [
    'The firewall policy that uses this group needs rule order STRICT_ORDER and default action aws:drop_established: this ' +
      'group only passes.',
    GAPS.sniOnly,
    GAPS.ttl,
    GAPS.guard,
  ]
  const rules = [
    // Refusals first: the group is evaluated in order.
    ...plan.exceptions.map((entry) => rule('drop', entry)),
    ...plan.allow.map((entry) => rule('pass', entry)),
  ].map((line, index) => `${line} sid:${FIRST_SID + index}; rev:1;)\n`)
  const request = {
    RuleGroupName: 'sallyport',
    Type: 'STATEFUL',
    Description: `Sallyport policy ${plan.hash}, rendered ${plan.date}`,
    Capacity: Math.max(100, rules.length * 2),
    RuleGroup: {
      RulesSource: {
        RulesString: `${comment('#', heading(plan, 'aws-network-firewall', gaps))}${rules.join('')}`,
      },
      StatefulRuleOptions: { RuleOrder: 'STRICT_ORDER' },
    },
    Tags: [
      { Key: 'sallyport-policy', Value: plan.hash },
      { Key: 'sallyport-rendered', Value: plan.date },
    ],
  }
  return text(`${JSON.stringify(request, null, 2)}\n`)
}

function rule(action: 'pass' | 'drop', entry: Allowance | Exception): string {
  // The whole name, or its end behind a dot.
  const content =
    entry.host.kind === 'exact'
      ? `content:"${entry.host.hostname}"; startswith; endswith; nocase;`
      : `content:".${entry.host.apex}"; endswith; nocase;`
  return (
    `${action} tls $HOME_NET any -> $EXTERNAL_NET ${entry.port} (msg:"sallyport ${action} ${nameOf(entry)}"; ` +
    `flow:to_server, established; tls.sni; ${content}`
  )
}
