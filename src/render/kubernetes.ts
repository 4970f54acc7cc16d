/**
 * NetworkPolicies. They know no names, so they cannot hold the policy; what they can do is leave the gate as the only
 * way out, and the gate knows names.
 */
import { prohibitedBlocks } from '../policy/addresses.ts'
import { nameOf, portsOf, type Plan } from './plan.ts'
import { GAPS, heading, type Rendering } from './rendering.ts'
import { annotations, yamlText } from './yaml.ts'

const GATE = { 'app.kubernetes.io/name': 'sallyport' }
const DNS = {
  to: [
    {
      namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'kube-system' } },
      podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } },
    },
  ],
  ports: [
    { protocol: 'UDP', port: 53 },
    { protocol: 'TCP', port: 53 },
  ],
}

export function renderKubernetes(plan: Plan): Rendering {
  const { ipv4, ipv6 } = prohibitedBlocks()
  const permitted = plan.permittedBlocks.map((cidr) => ({ ipBlock: { cidr } }))
  const gaps = [
    'It cannot hold names. Workloads may reach the gate and DNS only, and the gate enforces these hosts: ' +
      `${plan.allow.map((entry) => `${nameOf(entry)}:${entry.port}`).join(', ')}.`,
    GAPS.record,
    'It does nothing where the network plugin does not implement NetworkPolicy, and it does not concern the kubelet.',
  ]
  return yamlText(heading(plan, 'kubernetes', gaps), [
    policy('sallyport-workloads', plan, {
      podSelector: {
        matchExpressions: [{ key: 'app.kubernetes.io/name', operator: 'NotIn', values: ['sallyport'] }],
      },
      policyTypes: ['Egress'],
      egress: [
        DNS,
        {
          to: [{ namespaceSelector: {}, podSelector: { matchLabels: GATE } }],
          ports: [{ protocol: 'TCP', port: 3128 }],
        },
      ],
    }),
    policy('sallyport-gate', plan, {
      podSelector: { matchLabels: GATE },
      policyTypes: ['Egress'],
      egress: [
        DNS,
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

function policy(name: string, plan: Plan, spec: unknown): unknown {
  return {
    apiVersion: 'networking.k8s.io/v1',
    kind: 'NetworkPolicy',
    metadata: { name, annotations: annotations(plan) },
    spec,
  }
}
