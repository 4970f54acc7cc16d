/** The unit as systemd reads it, and how much it leaves exposed. */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { needing } from '../e2e/lab/needs.ts'

const FOLDER = fileURLToPath(new URL('../../deploy/systemd/', import.meta.url))
const SERVICE = `${FOLDER}sallyport.service`

const analyze = (...args: string[]): Promise<{ code: number | string | null | undefined; said: string }> =>
  new Promise((resolve) => {
    execFile('systemd-analyze', args, { timeout: 30_000, encoding: 'utf8' }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, said: `${stdout}${stderr}` }),
    )
  })

const lab = await needing({ linux: true, programs: ['systemd-analyze'] })

describe.skipIf(lab.missing)(`systemd-analyze${lab.because}`, () => {
  test('knows every setting of both units', async () => {
    const { said } = await analyze('verify', SERVICE, `${FOLDER}sallyport.socket`)
    expect(said).not.toMatch(/Unknown|Failed to parse|ignoring/i)
  })

  test('finds the exposure below 2.0', async () => {
    // In tenths; above the threshold it exits with an error.
    const { code, said } = await analyze('security', '--offline=true', '--threshold=20', SERVICE)
    expect(said).toContain('Overall exposure level')
    expect(code).toBe(0)
  })
})

test('there is a socket for the one address that the default configuration listens on', () => {
  const socket = readFileSync(`${FOLDER}sallyport.socket`, 'utf8')
  expect([...socket.matchAll(/^ListenStream=(.*)$/gm)].map(([, address]) => address)).toEqual([
    '127.0.0.1:3128',
  ])
  expect(readFileSync(SERVICE, 'utf8')).toContain('Requires=sallyport.socket')
})
