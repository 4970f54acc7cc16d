/**
 * A CiliumNetworkPolicy: DNS through Cilium's proxy for the allowed names only, TLS to what those names resolve to. Where
 * the name is exact the server name is held to it as well.
 */
import { nameOf, type Allowance, type Plan } from './plan.ts'
import { GAPS, heading, withoutExceptions, type Rendering } from './rendering.ts'
import { annotations, yamlText } from './yaml.ts'

export function renderCilium(plan: Plan): Rendering {
  const wildcards = plan.allow.filter(({ host }) => host.kind === 'subdomains')
  const gaps = [
    'serverNames need Cilium 1.16 or later with its Envoy (L7 proxy) on; without it, take them out, and names on shared ' +
      'addresses are no longer told apart.',
    'It lets a learnt address live for at least tofqdns-min-ttl and while a connection lasts, not just for its TTL.',
    ...(wildcards.length > 0
      ? [
          '`**.` means every depth from Cilium 1.19 on; before, one label only. The server name is not held to a wildcard.',
        ]
      : []),
    GAPS.guard,
    'A refused client sees a timeout or a reset, not a reason.',
  ]
  return (
    withoutExceptions(plan, 'a CiliumNetworkPolicy with names') ??
    yamlText(heading(plan, 'cilium', gaps), [
      {
        apiVersion: 'cilium.io/v2',
        kind: 'CiliumNetworkPolicy',
        metadata: { name: 'sallyport-egress', annotations: annotations(plan) },
        spec: {
          description: 'Outbound TLS to the allowed hosts, and DNS for their names; nothing else.',
          endpointSelector: { matchLabels: {} },
          egress: [dns(plan), ...plan.allow.map(tls)],
        },
      },
    ])
  )
}

function selector(entry: Allowance): Record<string, string> {
  return entry.host.kind === 'exact'
    ? { matchName: entry.host.hostname }
    : { matchPattern: `**.${entry.host.apex}` }
}

function tls(entry: Allowance): unknown {
  const proven = entry.host.kind === 'exact' && entry.sni === 'require'
  return {
    toFQDNs: [selector(entry)],
    toPorts: [
      {
        ports: [{ port: String(entry.port), protocol: 'TCP' }],
        ...(proven && { serverNames: [nameOf(entry)] }),
      },
    ],
  }
}

/** Pods ask for `cgr.dev.their-namespace.svc.cluster.local` first, and need an answer to that too. */
function dns(plan: Plan): unknown {
  const labels = Math.max(...plan.allow.map((entry) => nameOf(entry).split('.').length)) + 2
  const names = new Map(plan.allow.map((entry) => [nameOf(entry), selector(entry)]))
  const cluster = Array.from({ length: labels }, (_, index) => ({
    matchPattern: `${'*.'.repeat(index + 1)}cluster.local`,
  }))
  return {
    toEndpoints: [
      { matchLabels: { 'k8s:io.kubernetes.pod.namespace': 'kube-system', 'k8s:k8s-app': 'kube-dns' } },
    ],
    toPorts: [
      {
        ports: [{ port: '53', protocol: 'ANY' }],
        rules: { dns: [...names.values(), ...cluster] },
      },
    ],
  }
}
