/** The manifests as kustomize puts them together, held against the API schemas and against what they promise. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { describe, expect, test } from 'vitest'
import { parse, parseAllDocuments } from 'yaml'
import { z } from 'zod'
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
const configMap = z.looseObject({
  metadata: z.looseObject({ name: z.literal('sallyport') }),
  data: z.record(z.string(), z.string()),
})
const kinded = z.looseObject({ kind: z.string() })

const lab = await needing({ programs: ['kubectl'] })

describe.skipIf(lab.missing)(`kubectl kustomize${lab.because}`, () => {
  const build = async (overlay: string): Promise<z.infer<typeof kinded>[]> => {
    const { stdout } = await promisify(execFile)('kubectl', ['kustomize', `${FOLDER}overlays/${overlay}`])
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

  test('what the gate of the service may not reach is what the guard refuses', async () => {
    const policy = JSON.stringify(only(await build('service'), 'NetworkPolicy'))
    for (const block of ['10.0.0.0/8', '169.254.0.0/16', '172.16.0.0/12', '192.168.0.0/16'])
      expect(policy).toContain(block)
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
