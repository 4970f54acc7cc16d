/** The unit as systemd reads it, and how much it leaves exposed. */
import { execFile } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, onTestFinished, test } from 'vitest'
import { needing } from '../e2e/lab/needs.ts'

const FOLDER = fileURLToPath(new URL('../../deploy/systemd/', import.meta.url))
const SERVICE = `${FOLDER}sallyport.service`
const FIREWALL = `${FOLDER}sallyport-firewall.service`
const DROP_IN = 'sallyport.service.d/firewall.conf'

const analyze = (...args: string[]): Promise<{ code: number | string | null | undefined; said: string }> =>
  new Promise((resolve) => {
    execFile('systemd-analyze', args, { timeout: 30_000, encoding: 'utf8' }, (error, stdout, stderr) =>
      resolve({ code: error ? error.code : 0, said: `${stdout}${stderr}` }),
    )
  })

const lab = await needing({ linux: true, programs: ['systemd-analyze'] })

describe.skipIf(lab.missing)(`systemd-analyze${lab.because}`, () => {
  /** The service alone or with its drop-in, which systemd reads from the folder beside it. */
  function service(...dropIns: string[]): string {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-units-'))
    onTestFinished(() => rmSync(folder, { recursive: true }))
    for (const file of ['sallyport.service', 'sallyport.socket', ...dropIns])
      cpSync(`${FOLDER}${file}`, join(folder, file))
    return join(folder, 'sallyport.service')
  }

  test.each([
    ['the service and its socket', () => [service(), `${FOLDER}sallyport.socket`]],
    ['the service with the drop-in', () => [service(DROP_IN)]],
    ['the packet filter', () => [FIREWALL]],
  ])('knows every setting of %s', async (_what, files) => {
    const { said } = await analyze('verify', ...files())
    expect(said).not.toMatch(/Unknown|Failed to parse|ignoring/i)
  })

  test.each([
    ['the service', () => service()],
    ['the service that keeps a packet filter', () => service(DROP_IN)],
    ['the packet filter', () => FIREWALL],
  ])('finds the exposure of %s below 2.0', async (_what, file) => {
    // In tenths; above the threshold it exits with an error.
    const { code, said } = await analyze('security', '--offline=true', '--threshold=20', file())
    expect(said).toContain('Overall exposure level')
    expect({ code, said }).toMatchObject({ code: 0 })
  })

  test('finds in the drop-in what nft needs, beside what the service has', async () => {
    const facts = async (file: string): Promise<readonly string[]> => {
      const { said } = await analyze('security', '--offline=true', file)
      return ['PrivateUsers', '~CAP_NET_ADMIN', '~CAP_SYS_ADMIN', '~AF_NETLINK', '~AF_PACKET'].filter(
        (name) => new RegExp(`^✗ .*${name}`, 'm').test(said),
      )
    }
    expect(await facts(service())).toEqual([])
    expect(await facts(service(DROP_IN))).toEqual(['PrivateUsers', '~CAP_NET_ADMIN', '~AF_NETLINK'])
  })
})

test('both services start the program from where the documentation installs it', () => {
  const [gate, filter] = [SERVICE, FIREWALL].map((file) =>
    /^ExecStart=(\S+ \S+) .*(--config \S+)$/m.exec(readFileSync(file, 'utf8'))?.slice(1),
  )
  expect(gate).toEqual([
    '/usr/bin/node /opt/sallyport/bin/sallyport.js',
    '--config /etc/sallyport/sallyport.yaml',
  ])
  expect(filter).toEqual(gate)
})

test('there is a socket for the one address that the default configuration listens on', () => {
  const socket = readFileSync(`${FOLDER}sallyport.socket`, 'utf8')
  expect([...socket.matchAll(/^ListenStream=(.*)$/gm)].map(([, address]) => address)).toEqual([
    '127.0.0.1:3128',
  ])
  expect(readFileSync(SERVICE, 'utf8')).toContain('Requires=sallyport.socket')
})
