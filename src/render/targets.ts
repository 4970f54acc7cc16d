/** Every target of `sallyport render`, by the name that the command line knows. */
import { renderAwsNetworkFirewall } from './aws-network-firewall.ts'
import { renderAzureFirewall } from './azure-firewall.ts'
import { renderCilium } from './cilium.ts'
import { renderDocs } from './docs.ts'
import { renderEnvoy } from './envoy.ts'
import { renderGcpSecureWebProxy } from './gcp-secure-web-proxy.ts'
import { renderHaproxy } from './haproxy.ts'
import { renderHosts } from './hosts.ts'
import { renderIptables } from './iptables.ts'
import { renderKubernetes } from './kubernetes.ts'
import { renderNftables } from './nftables.ts'
import { renderPaloAltoEdl } from './paloalto-edl.ts'
import type { Target } from './rendering.ts'
import { renderSquid } from './squid.ts'

export const TARGETS: ReadonlyMap<string, Target> = new Map([
  ['nftables', { summary: 'rules without names; --redirect sends TLS to the gate', render: renderNftables }],
  ['iptables', { summary: 'the same for iptables-restore', render: renderIptables }],
  ['squid', { summary: 'squid.conf', render: renderSquid }],
  ['haproxy', { summary: 'haproxy.cfg, by server name', render: renderHaproxy }],
  ['envoy', { summary: 'bootstrap of a CONNECT proxy', render: renderEnvoy }],
  ['cilium', { summary: 'CiliumNetworkPolicy with toFQDNs', render: renderCilium }],
  ['kubernetes', { summary: 'NetworkPolicies: the gate is the only way out', render: renderKubernetes }],
  [
    'aws-network-firewall',
    { summary: 'stateful rule group, for the aws command', render: renderAwsNetworkFirewall },
  ],
  [
    'gcp-secure-web-proxy',
    { summary: 'policy and rules, for gcloud import', render: renderGcpSecureWebProxy },
  ],
  ['azure-firewall', { summary: 'ARM template of a rule collection group', render: renderAzureFirewall }],
  ['paloalto-edl', { summary: 'external dynamic list, type URL', render: renderPaloAltoEdl }],
  ['hosts', { summary: 'plain list, one host a line', render: renderHosts }],
  ['docs', { summary: 'Markdown table for a change request', render: renderDocs }],
])
