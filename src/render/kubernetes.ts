/**
 * NetworkPolicies. They know no names, so they cannot hold the policy; what they can do is leave the gate as the only
 * way out, and the gate knows names.
 */
import { prohibitedBlocks } from '../policy/addresses.ts'
import { isIPv6Literal } from '../policy/authority.ts'
import { nameOf, portsOf, type Plan } from './plan.ts'
import { GAPS, heading, type Rendering } from './rendering.ts'
import { annotations, yamlText } from './yaml.ts'

/** Where `deploy/kubernetes/overlays/service` puts it. */
const NAMESPACE = 'sallyport'
const GATE = { 'app.kubernetes.io/name': 'sallyport' }
const CLUSTER_DNS = {
  to: [
    {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
      podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
    },
  ],
  ports: dnsPorts(53),
}

export function renderKubernetes(plan: Plan): Rendering {
  const { ipv4, ipv6 } = prohibitedBlocks()
  const permitted = plan.permittedBlocks.map((cidr) => ({ ipBlock: { cidr } }))
  const gaps = [
    'It cannot hold names. Workloads may reach the gate and DNS only, and the gate enforces these hosts: ' +
      `${plan.allow.map((entry) => `${nameOf(entry)}:${entry.port}`).join(', ')}.`,
    `The first goes into each namespace of workloads (that of the current context), the second into ${NAMESPACE}: who may ` +
      `make pods in ${NAMESPACE} goes out past the gate, so keep that namespace for it.`,
    ...(plan.resolvers.length > 0
      ? [
          'The gate reaches the addresses of dns.servers. Plugins that look at a packet after the Service has been resolved ' +
            'do not match one that is the address of a Service: name its pods instead.',
        ]
      : []),
    GAPS.record,
    'It does nothing where the network plugin does not implement NetworkPolicy, and it does not concern the kubelet.',
  ]
  return yamlText(heading(plan, 'kubernetes', gaps), [
    policy({ name: 'sallyport-workloads' }, plan, {
      // All of them: a label that a workload could give itself must not take it out.
      podSelector: {},
      policyTypes: ['Egress'],
      egress: [
        CLUSTER_DNS,
        {
          to: [
            {
              namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': NAMESPACE } },
              podSelector: { matchLabels: GATE },
            },
          ],
          ports: [{ protocol: 'TCP', port: 3128 }],
        },
      ],
    }),
    policy({ name: 'sallyport-gate', namespace: NAMESPACE }, plan, {
      podSelector: { matchLabels: GATE },
      policyTypes: ['Egress'],
      egress: [
        ...dns(plan),
        {
          to: [
            { ipBlock: { cidr: '0.0.0.0/0', except: ipv4 } },
            { ipBlock: { cidr: '2000::/3', except: ipv6 } },
            ...permitted,
          ],
          ports: portsOf(plan).map((port) => ({ protocol: 'TCP', port })),
        },
      ],
    }),
  ])
}

/** Whom the gate asks. Workloads ask the cluster's, whatever the gate does. */
function dns({ resolvers }: Plan): readonly unknown[] {
  if (resolvers.length === 0) return [CLUSTER_DNS]
  return resolvers.map(({ address, port }) => ({
    to: [{ ipBlock: { cidr: `${address}/${isIPv6Literal(address) ? 128 : 32}` } }],
    ports: dnsPorts(port),
  }))
}

function dnsPorts(port: number): readonly unknown[] {
  return ['UDP', 'TCP'].map((protocol) => ({ protocol, port }))
}

function policy(
  metadata: { readonly name: string; readonly namespace?: string },
  plan: Plan,
  spec: unknown,
): unknown {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { ...metadata, annotations: annotations(plan) },
    spec,
  }
}
