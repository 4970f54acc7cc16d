/** The policies that every target is rendered from in the tests, by what is particular about them. */
import { loadConfig } from '../../src/config/load.ts'
import { makePlan, type Plan } from '../../src/render/plan.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'

export const NOW = Date.parse('2026-11-24T12:00:00Z')

export function planOf(yaml: string, nowMs: number = NOW): Plan {
  const result = loadConfig({ text: yaml, name: 'test.yaml', presets: readBundledPresets(), nowMs })
  if (!result.ok) throw new Error(JSON.stringify(result.issues))
  const { config } = result
  return makePlan({
    policy: config.policy,
    source: 'test.yaml',
    nowMs,
    dnsServers: config.dns.servers,
    permittedBlocks: config.addresses.allow.map(({ text }) => text),
    otherPolicies: config.clients.rules.map(({ name }) => name),
  })
}

export const POLICIES: Readonly<Record<string, string>> = {
  default: 'policy: {}',
  newest: 'policy: { presets: [chainguard-2026-10-08] }',
  'wildcard, own resolvers, private block': `
dns: { servers: [10.0.0.53, '127.0.0.1:5353', '[2001:4860:4860::8888]:53'] }
addresses: { allow: [10.9.0.0/16, fd00::/8] }
policy:
  presets: []
  allow:
    - { host: '*.example.com', owner: platform, reason: 'the | mirror <b>', expires: 2027-01-31 }
    - { host: mirror.example.net, sni: off, owner: platform, reason: it is told by address }
`,
  'two ports': `
policy:
  presets: []
  allow: [{ host: cgr.dev }, { host: cgr.dev, port: 8443 }, { host: '*.example.org', port: 8443 }]
`,
  'a denial inside a wildcard': `
policy:
  presets: []
  allow: [{ host: '*.example.com' }, { host: cgr.dev }]
  deny: [{ host: internal.example.com, reason: not for us }]
`,
}
