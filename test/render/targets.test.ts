/** What every target owes its reader: which policy, of which day, which hosts, and what it leaves open. */
import { describe, expect, test } from 'vitest'
import { parseAllDocuments } from 'yaml'
import { z } from 'zod'
import { TARGETS } from '../../src/render/targets.ts'
import type { RenderOptions } from '../../src/render/rendering.ts'
import { NOW, planOf, POLICIES } from './policies.ts'

const options: RenderOptions = { gateUid: 65_532, transparent: { host: '127.0.0.1', port: 3129 } }
const DAY_MS = 86_400_000

function rendered(target: string, yaml: string, nowMs = NOW): string {
  const rendering = TARGETS.get(target)?.render(planOf(yaml, nowMs), options)
  if (rendering?.kind !== 'text') throw new Error(`${target}: ${rendering?.why}`)
  return rendering.text
}

describe.each([...TARGETS.keys()])('%s', (target) => {
  test.each(['default', 'newest'])('names the hosts, the hash and the date of policy %s', (name) => {
    const yaml = POLICIES[name] ?? ''
    const text = rendered(target, yaml)
    const plan = planOf(yaml)
    expect(text).toContain(plan.hash)
    expect(text).toContain('2026-11-24')
    for (const { host } of plan.allow) {
      const hostname = host.kind === 'exact' ? host.hostname : host.apex
      // Two of them write names as expressions.
      expect(text.replaceAll('\\.', '.')).toContain(hostname)
    }
  })

  test('says what it does not do', () => {
    // A list and a table for people claim nothing.
    if (['hosts', 'docs'].includes(target)) return
    expect(rendered(target, 'policy: {}')).toContain('Read this before you use it:')
  })

  test('warns of a rule that will end, and leaves out one that has', () => {
    const yaml =
      'policy: { presets: [], allow: [{ host: cgr.dev }, { host: old.example.com, expires: 2026-11-24 }] }'
    expect(rendered(target, yaml)).toContain('old.example.com:443 on 2026-11-24')
    expect(rendered(target, yaml, NOW + DAY_MS)).not.toContain('old.example.com')
  })

  test('says that a policy which only reports is enforced here', () => {
    expect(rendered(target, 'policy: { mode: report }')).toContain('policy.mode')
  })

  test('leaves out what a deny rule takes away', () => {
    const yaml = `policy: { deny: [{ host: chainguardhelp.zendesk.com }] }`
    expect(rendered(target, yaml)).not.toContain('zendesk')
  })
})

describe('what a target cannot hold is refused whole', () => {
  const exceptions = POLICIES['a denial inside a wildcard'] ?? ''
  test.each(['cilium', 'paloalto-edl', 'hosts'])('%s: a denial inside a wildcard', (target) => {
    expect(TARGETS.get(target)?.render(planOf(exceptions), options)).toMatchObject({
      kind: 'impossible',
      why: expect.stringMatching(
        /denies internal\.example\.com inside an allowed wildcard; list the allowed/,
      ),
    })
  })

  test('paloalto-edl: two ports', () => {
    expect(TARGETS.get('paloalto-edl')?.render(planOf(POLICIES['two ports'] ?? ''), options)).toMatchObject({
      kind: 'impossible',
      why: expect.stringContaining('443 and 8443'),
    })
  })

  test.each(
    [...TARGETS.keys()].filter(
      (name) => !['cilium', 'paloalto-edl', 'hosts', 'nftables', 'iptables', 'kubernetes'].includes(name),
    ),
  )('%s puts the denial before the wildcard, or beside it', (target) => {
    expect(rendered(target, exceptions).replaceAll('\\.', '.')).toContain('internal.example.com')
  })
})

describe('details', () => {
  test('an entry of a PAN-OS list ends with a slash, so that it matches no longer name', () => {
    const entries = rendered('paloalto-edl', 'policy: {}')
      .split('\n')
      .filter((line) => line && !line.startsWith('#'))
    expect(entries).toHaveLength(9)
    for (const entry of entries) expect(entry).toMatch(/^[a-z0-9.-]+\/$/)
  })

  test('a plain list has nothing but hosts beside its comments, and the port where it is not 443', () => {
    const text = rendered('hosts', POLICIES['two ports'] ?? '')
    expect(text.split('\n').filter((line) => line && !line.startsWith('#'))).toEqual([
      '*.example.org:8443',
      'cgr.dev',
      'cgr.dev:8443',
    ])
  })

  test('words of people are no markup in the table', () => {
    const text = rendered('docs', POLICIES['wildcard, own resolvers, private block'] ?? '')
    expect(text).toContain(String.raw`the \| mirror \<b\>`)
    expect(text).toMatch(/\| `mirror\.example\.net` \| 443 \| TCP \|/)
    expect(text).toContain('owner platform, until 2027-01-31')
  })

  test('no comment is wider than a page', () => {
    const lines = ['squid', 'nftables', 'haproxy', 'cilium', 'kubernetes'].flatMap((target) =>
      rendered(target, 'policy: {}').split('\n'),
    )
    expect(lines.filter((line) => line.startsWith('#') && line.length > 110)).toEqual([])
  })

  describe('kubernetes', () => {
    const yaml = POLICIES['wildcard, own resolvers, private block'] ?? ''
    const policies = (text: string) =>
      parseAllDocuments(text).map((document) =>
        z
          .looseObject({
            metadata: z.looseObject({ namespace: z.string().optional() }),
            spec: z.looseObject({ podSelector: z.unknown(), egress: z.array(z.unknown()) }),
          })
          .parse(document.toJS()),
      )
    const dnsPorts = (port: number) => [
      { protocol: 'UDP', port },
      { protocol: 'TCP', port },
    ]

    test('lets the gate ask the servers of dns.servers, and the workloads those of the cluster', () => {
      const [workloads, gate] = policies(rendered('kubernetes', yaml))
      expect(gate?.spec.egress.slice(0, -1)).toEqual([
        { to: [{ ipBlock: { cidr: '10.0.0.53/32' } }], ports: dnsPorts(53) },
        { to: [{ ipBlock: { cidr: '127.0.0.1/32' } }], ports: dnsPorts(5353) },
        { to: [{ ipBlock: { cidr: '2001:4860:4860::8888/128' } }], ports: dnsPorts(53) },
      ])
      const clusterDns = {
        to: [{ podSelector: { matchLabels: { 'k8s-app': 'kube-dns' } } }],
        ports: dnsPorts(53),
      }
      expect(workloads?.spec.egress[0]).toMatchObject(clusterDns)
      expect(policies(rendered('kubernetes', 'policy: {}'))[1]?.spec.egress[0]).toMatchObject(clusterDns)
    })

    test('tells the gate from the workloads by its namespace, which no pod gives itself', () => {
      const [workloads, gate] = policies(rendered('kubernetes', yaml))
      expect(workloads?.spec.podSelector).toEqual({})
      expect(workloads?.spec.egress[1]).toMatchObject({
        to: [{ namespaceSelector: { matchLabels: { 'kubernetes.io/metadata.name': 'sallyport' } } }],
      })
      expect(gate?.metadata.namespace).toBe('sallyport')
    })
  })

  test('squid asks the servers of dns.servers, and says which it cannot ask', () => {
    const text = rendered('squid', POLICIES['wildcard, own resolvers, private block'] ?? '')
    expect(text).toContain('\ndns_nameservers 10.0.0.53 2001:4860:4860::8888\n')
    expect(text).toContain('127.0.0.1 5353')
  })

  describe('a rule of gcp-secure-web-proxy', () => {
    const matchers = (yaml: string): readonly string[] =>
      parseAllDocuments(rendered('gcp-secure-web-proxy', yaml))
        .slice(1)
        .map(
          (document) => z.looseObject({ sessionMatcher: z.string() }).parse(document.toJS()).sessionMatcher,
        )

    test('allows its hosts on its port only, and denies on it', () => {
      expect(matchers(POLICIES['two ports'] ?? '')).toEqual([
        `(host() == 'cgr.dev') && destination.port == 443`,
        `(host().endsWith('.example.org') || host() == 'cgr.dev') && destination.port == 8443`,
      ])
      expect(matchers(POLICIES['a denial inside a wildcard'] ?? '')[0]).toBe(
        `(host() == 'internal.example.com') && destination.port == 443`,
      )
    })

    test('has at most 12 logical operators; many hosts take several, and none is lost', () => {
      const yaml = POLICIES['newest'] ?? ''
      const rules = matchers(yaml)
      for (const rule of rules) expect(rule.match(/&&|\|\|/g)?.length).toBeLessThanOrEqual(12)
      const hosts = rules.flatMap((rule) => [...rule.matchAll(/'([^']+)'/g)].map(([, host]) => host))
      expect(hosts).toEqual(planOf(yaml).allow.map(({ host }) => host.kind === 'exact' && host.hostname))
    })
  })

  test('squid never allows the apex of a wildcard', () => {
    const text = rendered('squid', POLICIES['two ports'] ?? '')
    const expression = /dstdom_regex -n -i (\^\(.*)/.exec(text)?.[1] ?? ''
    const pattern = new RegExp(expression, 'i')
    expect(['a.example.org', 'a.b.example.org'].every((name) => pattern.test(name))).toBe(true)
    expect(
      ['example.org', 'badexample.org', 'a.example.org.evil.net'].some((name) => pattern.test(name)),
    ).toBe(false)
  })
})
