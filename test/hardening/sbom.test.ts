/** `npm run sbom`: what runs, and nothing that only builds or tests. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { z } from 'zod'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const bill = z.looseObject({
  bomFormat: z.literal('CycloneDX'),
  metadata: z.looseObject({ component: z.looseObject({ purl: z.string() }) }),
  components: z.array(z.looseObject({ name: z.string(), version: z.string(), purl: z.string() })),
})
const manifest = z.looseObject({
  dependencies: z.record(z.string(), z.string()),
  devDependencies: z.record(z.string(), z.string()),
})

test('it names every runtime dependency, and no other', { timeout: 60_000 }, async () => {
  const { stdout } = await promisify(execFile)('npm', ['run', '--silent', 'sbom'], {
    cwd: ROOT,
    maxBuffer: 2 ** 24,
  })
  const { components, metadata } = bill.parse(JSON.parse(stdout))
  const { dependencies, devDependencies } = manifest.parse(
    JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')),
  )
  const names = new Set(components.map(({ name }) => name))
  expect(metadata.component.purl).toMatch(/^pkg:npm\/sallyport@/)
  for (const name of Object.keys(dependencies)) expect(names).toContain(name)
  for (const name of Object.keys(devDependencies)) expect(names).not.toContain(name)
})
