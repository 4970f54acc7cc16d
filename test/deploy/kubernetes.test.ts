/** The manifests as kustomize puts them together, held against the API schemas and against what they promise. */
import { execFile } from 'node:child_process'
import { appendFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse, parseAllDocuments, stringify } from 'yaml'
import { z } from 'zod'
import { prohibitedBlocks } from '../../src/policy/addresses.ts'
import { needing } from '../e2e/lab/needs.ts'
import { faultsOf } from '../support/kubernetes-objects.ts'

const FOLDER = fileURLToPath(new URL('../../deploy/kubernetes/', import.meta.url))

/** One container as the restricted Pod Security profile wants it, and a read-only root besides. */
const container = z.looseObject({
  name: z.string(),
  image: z.string(),
  securityContext: z.looseObject({
    allowPrivilegeEscalation: z.literal(false),
    capabilities: z.strictObject({ drop: z.tuple([z.literal('ALL')]) }),
  }),
  resources: z.looseObject({
    requests: z.record(z.string(), z.string()),
    limits: z.looseObject({ memory: z.string() }),
  }),
})
const gateContainer = container.extend({
  name: z.literal('sallyport'),
  image: z.literal('registry.example.com/sallyport:0.1.0'),
  restartPolicy: z.literal('Always').optional(),
  securityContext: container.shape.securityContext.extend({ readOnlyRootFilesystem: z.literal(true) }),
  startupProbe: z.looseObject({}),
  readinessProbe: z.looseObject({}),
  livenessProbe: z.looseObject({}),
  // subPath would keep a change of the ConfigMap from the gate.
  volumeMounts: z.array(
    z.strictObject({ name: z.string(), mountPath: z.string(), readOnly: z.literal(true) }),
  ),
})
const deployment = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({
      spec: z.looseObject({
        automountServiceAccountToken: z.literal(false),
        terminationGracePeriodSeconds: z.int(),
        securityContext: z.looseObject({
          runAsNonRoot: z.literal(true),
          runAsUser: z.literal(65_532),
          seccompProfile: z.strictObject({ type: z.literal('RuntimeDefault') }),
        }),
        initContainers: z.array(gateContainer).optional(),
        containers: z.array(container),
      }),
    }),
  }),
})
const templated = z.looseObject({
  spec: z.looseObject({
    template: z.looseObject({ spec: z.looseObject({ initContainers: z.array(gateContainer).optional() }) }),
  }),
})
const networkPolicy = z.looseObject({
  spec: z.looseObject({
    egress: z.array(z.looseObject({ to: z.array(z.looseObject({ ipBlock: z.unknown().optional() })) })),
  }),
})
const configMap = z.looseObject({
  metadata: z.looseObject({ name: z.literal('sallyport') }),
  data: z.record(z.string(), z.string()),
})
const kinded = z.looseObject({ kind: z.string() })

const lab = await needing({ programs: ['kubectl'] })

describe.skipIf(lab.missing)(`kubectl kustomize${lab.because}`, () => {
  const build = async (overlay: string, folder = FOLDER): Promise<z.infer<typeof kinded>[]> => {
    const { stdout } = await promisify(execFile)('kubectl', ['kustomize', join(folder, 'overlays', overlay)])
    return parseAllDocuments(stdout).map((document) => kinded.parse(document.toJS()))
  }
  const only = (objects: z.infer<typeof kinded>[], kind: string): unknown =>
    objects.find((object) => object.kind === kind)
  const seconds = (duration = '0s'): number => Number(/^(\d+)s$/.exec(duration)?.[1])

  test.each([
    ['sidecar', ['ConfigMap', 'Deployment']],
    [
      'service',
      [
        'ConfigMap',
        'Deployment',
        'HorizontalPodAutoscaler',
        'Namespace',
        'NetworkPolicy',
        'PodDisruptionBudget',
        'PodMonitor',
        'Service',
      ],
    ],
    ['workloads', ['NetworkPolicy']],
  ])('%s: objects that the published schemas know, every field of them', async (overlay, kinds) => {
    const objects = await build(overlay)
    expect(objects.map(({ kind }) => kind).toSorted()).toEqual(kinds)
    expect(await faultsOf(objects)).toBe('')
  })

  test.each(['sidecar', 'service'])('%s: restricted, read-only, and time to drain', async (overlay) => {
    const objects = await build(overlay)
    const { spec } = deployment.parse(only(objects, 'Deployment')).spec.template
    const gate = gateContainer.parse(overlay === 'sidecar' ? spec.initContainers?.[0] : spec.containers[0])
    expect(gate.restartPolicy).toBe(overlay === 'sidecar' ? 'Always' : undefined)
    const { data } = configMap.parse(only(objects, 'ConfigMap'))
    const { limits } = z
      .looseObject({ limits: z.looseObject({ drainDelay: z.string().optional(), drainTimeout: z.string() }) })
      .parse(parse(data['sallyport.yaml'] ?? ''))
    expect(seconds(limits.drainDelay) + seconds(limits.drainTimeout)).toBeLessThan(
      spec.terminationGracePeriodSeconds,
    )
  })

  test('the kubelet restarts the sidecar only where it does not live, by the file that it runs with', async () => {
    const { spec } = deployment.parse(only(await build('sidecar'), 'Deployment')).spec.template
    const gate = gateContainer.parse(spec.initContainers?.[0])
    const command = (live: readonly string[]) => [
      '/usr/bin/node',
      '/app/bin/sallyport.js',
      'healthcheck',
      ...live,
      '--config',
      '/etc/sallyport/sallyport.yaml',
    ]
    expect(gate.livenessProbe).toMatchObject({ exec: { command: command(['--live']) } })
    expect(gate.startupProbe).toMatchObject({ exec: { command: command(['--live']) } })
    expect(gate.readinessProbe).toMatchObject({ exec: { command: command([]) } })
    expect(gate.volumeMounts.map(({ mountPath }) => mountPath)).toContain('/etc/sallyport')
  })

  test('the sidecar goes into everything that is labelled for it and has a template of pods', async () => {
    const copy = mkdtempSync(join(tmpdir(), 'sallyport-kustomize-'))
    onTestFinished(() => rmSync(copy, { recursive: true }))
    cpSync(FOLDER, copy, { recursive: true })
    const kinds = ['DaemonSet', 'Deployment', 'Job', 'StatefulSet']
    const own = kinds.map((kind) => ({
      apiVersion: kind === 'Job' ? 'batch/v1' : 'apps/v1',
      kind,
      metadata: { name: 'own', labels: { 'sallyport.dev/sidecar': 'true' } },
      spec: { template: { spec: { containers: [{ name: 'own', image: 'own' }] } } },
    }))
    appendFileSync(
      join(copy, 'overlays/sidecar/workload.yaml'),
      own.map((object) => `---\n${stringify(object)}`).join(''),
    )
    const objects = (await build('sidecar', copy)).filter(({ kind }) => kinds.includes(kind))
    const names = objects.map((object) => {
      const { spec } = templated.parse(object).spec.template
      return [object.kind, ...(spec.initContainers ?? []).map(({ name }) => name)].join(' ')
    })
    // The overlay's own Deployment too.
    expect(names.toSorted((a, b) => a.localeCompare(b, 'en'))).toEqual([
      'DaemonSet sallyport',
      'Deployment sallyport',
      'Deployment sallyport',
      'Job sallyport',
      'StatefulSet sallyport',
    ])
  })

  test('what the gate of the service may not reach is what the guard refuses', async () => {
    const { spec } = networkPolicy.parse(only(await build('service'), 'NetworkPolicy'))
    const blocks = spec.egress.flatMap(({ to }) => to.flatMap(({ ipBlock }) => ipBlock ?? []))
    const { ipv4, ipv6 } = prohibitedBlocks()
    expect(blocks).toEqual([
      { cidr: '0.0.0.0/0', except: ipv4 },
      { cidr: '2000::/3', except: ipv6 },
    ])
  })
})

test('the two configurations of the overlays differ from the default only where they say', () => {
  for (const file of ['base/sallyport.yaml', 'overlays/service/sallyport.yaml']) {
    const config = z
      .looseObject({ policy: z.strictObject({ presets: z.array(z.string()), allow: z.array(z.unknown()) }) })
      .parse(parse(readFileSync(FOLDER + file, 'utf8')))
    expect(config.policy).toEqual({ presets: ['chainguard-2024-05-14'], allow: [] })
  }
})
