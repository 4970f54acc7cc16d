/**
 * `npm run sbom`: a bill of materials (CycloneDX) of what runs, on standard output. Made by `npm sbom`, without what only
 * builds and tests. Not by its `--omit dev`: that drops a package which is needed for both, such as `yaml`.
 */
import { execFileSync } from 'node:child_process'
import { z } from 'zod'

const DEVELOPMENT = 'cdx:npm:package:development'

const bill = z.looseObject({
  components: z.array(
    z.looseObject({
      'bom-ref': z.string(),
      properties: z.array(z.looseObject({ name: z.string(), value: z.string() })).default([]),
    }),
  ),
  dependencies: z.array(z.looseObject({ ref: z.string(), dependsOn: z.array(z.string()).default([]) })),
})

const args = ['sbom', '--sbom-format', 'cyclonedx', '--sbom-type', 'application']
const whole = bill.parse(JSON.parse(execFileSync('npm', args, { encoding: 'utf8', maxBuffer: 2 ** 26 })))
const dropped = new Set(
  whole.components
    .filter(({ properties }) =>
      properties.some(({ name, value }) => name === DEVELOPMENT && value === 'true'),
    )
    .map((component) => component['bom-ref']),
)
const runs = {
  ...whole,
  components: whole.components.filter((component) => !dropped.has(component['bom-ref'])),
  dependencies: whole.dependencies
    .filter(({ ref }) => !dropped.has(ref))
    .map(({ ref, dependsOn }) => ({ ref, dependsOn: dependsOn.filter((other) => !dropped.has(other)) })),
}
process.stdout.write(`${JSON.stringify(runs, null, 2)}\n`)
