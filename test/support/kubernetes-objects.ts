/**
 * Kubernetes objects held against the published API schemas: a small program declares each object as its type, so that the
 * compiler finds fields the API does not have, and then validates the values with the schema of that type.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { z } from 'zod'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const CACHE = join(ROOT, 'node_modules/.cache')
const TSC = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin/tsc')
const object = z.looseObject({ apiVersion: z.string(), kind: z.string() })

/** The package that knows an API group: Kubernetes' own, or one of the extensions. */
const EXTENSIONS: Readonly<Record<string, string>> = {
  'cilium.io': '@kubernetes-models/cilium',
  'monitoring.coreos.com': '@kubernetes-models/prometheus-operator',
}

/** What is wrong with the objects; empty when nothing is. */
export async function faultsOf(objects: readonly unknown[]): Promise<string> {
  const parts = objects.map((value, index) => {
    const { apiVersion, kind, ...rest } = object.parse(value)
    const from = `${EXTENSIONS[apiVersion.split('/')[0] ?? ''] ?? 'kubernetes-models'}/${apiVersion}`
    const type = `import('${from}').I${kind}`
    const literal = JSON.stringify(rest, null, 1)
    return {
      typed: `const o${index}: Omit<${type}, 'apiVersion' | 'kind'> = ${literal}\n`,
      run: `import { ${kind} as K${index} } from '${from}'\nnew K${index}(${literal}).validate()\n`,
    }
  })
  mkdirSync(CACHE, { recursive: true })
  const folder = mkdtempSync(join(CACHE, 'kubernetes-objects-'))
  try {
    const types = join(folder, 'types.mts')
    writeFileSync(types, parts.map(({ typed }) => typed).join(''))
    const values = join(folder, 'values.mjs')
    writeFileSync(values, parts.map(({ run }) => run).join(''))
    const flags = ['--ignoreConfig', '--noEmit', '--strict', '--skipLibCheck', '--module', 'nodenext']
    return (await run([TSC, ...flags, '--types', 'node', types])) || (await run([values]))
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function run(args: readonly string[]): Promise<string> {
  return new Promise((resolve) => {
    execFile(process.execPath, args, { cwd: ROOT, timeout: 60_000 }, (error, stdout, stderr) =>
      resolve(error ? `${stdout}${stderr}${error.message}` : ''),
    )
  })
}
