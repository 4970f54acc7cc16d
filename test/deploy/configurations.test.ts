/** The configurations that ship with the deployments load, listen where they should, and allow what the default allows. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { loadConfig, type Config } from '../../src/config/load.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'

const DEPLOY = new URL('../../deploy/', import.meta.url)

function load(file: string): Config {
  const text = readFileSync(new URL(file, DEPLOY), 'utf8')
  const result = loadConfig({ text, name: file, presets: readBundledPresets(), nowMs: Date.now() })
  if (!result.ok)
    throw new Error(result.issues.map(({ line, message }) => `${file}:${line} ${message}`).join('\n'))
  return result.config
}

test('kubernetes/overlays/service/sallyport.yaml listens for others, and its admin side asks for a token', () => {
  const config = load('kubernetes/overlays/service/sallyport.yaml')
  expect(config.listen).toMatchObject([{ host: '0.0.0.0', port: 3128 }])
  expect(config.admin).toMatchObject({
    listen: { host: '0.0.0.0', port: 9128 },
    tokenFile: '/etc/sallyport-admin/token',
  })
  expect(config.policy.hash).toBe(load('../config/sallyport.yaml').policy.hash)
})

describe.each([
  ['container/sallyport.yaml', '0.0.0.0'],
  ['kubernetes/base/sallyport.yaml', '127.0.0.1'],
])('%s', (file, host) => {
  test(`listens on ${host}:3128, and allows what the default allows`, () => {
    const config = load(file)
    expect(config.listen).toMatchObject([{ host, port: 3128 }])
    expect(config.admin.listen).toMatchObject({ host: '127.0.0.1', port: 9128 })
    expect(config.policy.hash).toBe(load('../config/sallyport.yaml').policy.hash)
    // The container's log, or nothing: a gate that records nowhere is no gate.
    expect(config.audit.stdout).toBe(true)
  })
})
