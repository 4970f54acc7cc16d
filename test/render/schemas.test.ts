/** Outputs that are data, held against what their readers publish: types, required fields, and no field they do not know. */
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import type { z } from 'zod'
import { type RenderOptions } from '../../src/render/rendering.ts'
import { TARGETS } from '../../src/render/targets.ts'
import { faultsOf } from '../support/kubernetes-objects.ts'
import { planOf, POLICIES } from './policies.ts'
import {
  armTemplate,
  createRuleGroup,
  envoyBootstrap,
  gatewaySecurityPolicy,
  gatewaySecurityPolicyRule,
} from './shapes.ts'

const options: RenderOptions = { gateUid: 65_532, transparent: { host: '127.0.0.1', port: 3129 } }

function rendered(target: string, yaml: string): string {
  const rendering = TARGETS.get(target)?.render(planOf(yaml), options)
  if (rendering?.kind !== 'text') throw new Error(`${target}: ${rendering?.why}`)
  return rendering.text
}

/** What does not fit. */
function misfits(shape: z.ZodType, value: unknown): readonly unknown[] {
  return shape.safeParse(value).error?.issues ?? []
}

describe.each(Object.entries(POLICIES))('policy %s', (name, yaml) => {
  const documents = (target: string): unknown[] =>
    parseAllDocuments(rendered(target, yaml)).map((document): unknown => document.toJS())

  test('kubernetes: two NetworkPolicies', async () => {
    const policies = documents('kubernetes')
    expect(policies).toMatchObject([{ kind: 'NetworkPolicy' }, { kind: 'NetworkPolicy' }])
    expect(await faultsOf(policies)).toBe('')
  })

  test.skipIf(name === 'a denial inside a wildcard')('cilium: one CiliumNetworkPolicy', async () => {
    const policies = documents('cilium')
    expect(policies).toMatchObject([{ kind: 'CiliumNetworkPolicy' }])
    expect(await faultsOf(policies)).toBe('')
  })

  test('envoy: a bootstrap, and no virtual host for everything', () => {
    const bootstrap: unknown = parse(rendered('envoy', yaml))
    expect(misfits(envoyBootstrap, bootstrap)).toEqual([])
    expect(JSON.stringify(bootstrap)).not.toContain('"*"')
  })

  test('aws: the request of CreateRuleGroup', () => {
    expect(misfits(createRuleGroup, JSON.parse(rendered('aws-network-firewall', yaml)))).toEqual([])
  })

  test('gcp: a policy, then its rules, each with a priority of its own', () => {
    const [policy, ...rules] = documents('gcp-secure-web-proxy')
    expect(misfits(gatewaySecurityPolicy, policy)).toEqual([])
    expect(rules.length).toBeGreaterThan(0)
    const priorities = rules.map((rule) => gatewaySecurityPolicyRule.parse(rule).priority)
    expect(new Set(priorities).size).toBe(priorities.length)
  })

  test('azure: a template with one rule collection group', () => {
    expect(misfits(armTemplate, JSON.parse(rendered('azure-firewall', yaml)))).toEqual([])
  })
})

test('what the API does not have is found', async () => {
  const policy = { apiVersion: 'networking.k8s.io/v1', kind: 'NetworkPolicy', metadata: { name: 'x' } }
  expect(await faultsOf([{ ...policy, spec: { podSelector: {}, egres: [] } }])).toContain(
    `'"egres"' does not exist`,
  )
  expect(await faultsOf([{ ...policy, spec: { podSelector: {}, policyTypes: ['Sideways', 3] } }])).not.toBe(
    '',
  )
})

describe('a field that a shape does not have is found, wherever it is', () => {
  const yaml = POLICIES['wildcard, own resolvers, private block'] ?? ''
  const gcp = (): unknown[] =>
    parseAllDocuments(rendered('gcp-secure-web-proxy', yaml)).map((document): unknown => document.toJS())
  test.each<[string, z.ZodType, () => unknown]>([
    ['envoy', envoyBootstrap, () => parse(rendered('envoy', yaml))],
    ['aws', createRuleGroup, () => JSON.parse(rendered('aws-network-firewall', yaml))],
    ['gcp policy', gatewaySecurityPolicy, () => gcp()[0]],
    ['gcp rule', gatewaySecurityPolicyRule, () => gcp()[1]],
    ['azure', armTemplate, () => JSON.parse(rendered('azure-firewall', yaml))],
  ])('%s', (_target, shape, value) => {
    const count = objectsIn(value()).length
    expect(count).toBeGreaterThan(0)
    const accepted = Array.from({ length: count }, (_, at) => {
      const changed = value()
      const { object, path } = objectsIn(changed)[at] ?? { object: {}, path: 'none' }
      object['sallyport'] = 1
      return misfits(shape, changed).length === 0 ? path : ''
    })
    // ARM keeps metadata for whoever writes the template.
    expect(accepted.filter((path) => path !== '' && path !== '/metadata')).toEqual([])
  })
})

/** Every object of a document, in the order of the document. */
function objectsIn(value: unknown, path = ''): { object: Record<string, unknown>; path: string }[] {
  if (Array.isArray(value)) return value.flatMap((item, at) => objectsIn(item, `${path}/${at}`))
  if (!isObject(value)) return []
  const inside = Object.entries(value).flatMap(([key, item]) => objectsIn(item, `${path}/${key}`))
  return [{ object: value, path }, ...inside]
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null
}
