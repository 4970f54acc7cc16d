import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { FIXTURES, run } from './run.ts'

describe('sallyport render', () => {
  test('lists its targets', async () => {
    const { code, stdout } = await run(['render'])
    expect(code).toBe(0)
    expect(stdout.trim().split('\n')).toHaveLength(13)
  })

  test('renders the bundled policy, with the hash that explain shows', async () => {
    const { code, stdout, stderr } = await run(['render', 'squid'])
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
    const explained = await run(['explain', 'cgr.dev', '--json'])
    expect(stdout).toContain(/sha256:[0-9a-f]{64}/.exec(explained.stdout)?.[0])
  })

  test('renders what --allow adds', async () => {
    const { stdout } = await run(['render', 'hosts', '--allow', 'mirror.example.com'])
    expect(stdout).toContain('\nmirror.example.com\n')
  })

  test('renders no table that `firewall` takes for its own', async () => {
    const tables = async (...args: string[]): Promise<readonly string[]> => {
      const { stdout } = await run(args)
      return [...stdout.matchAll(/^(?:add )?table inet (\w+)/gm)].map(([, name]) => name ?? '')
    }
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-render-'))
    const file = join(folder, 'transparent.yaml')
    writeFileSync(
      file,
      `transparent: 127.0.0.1:3129
policy: { presets: [], allow: [{ host: fixed.test }] }
dns: { hosts: { fixed.test: [192.0.2.7] } }
addresses: { allow: [192.0.2.0/24] }
`,
    )
    onTestFinished(() => rmSync(folder, { recursive: true }))
    const made = [
      ...(await tables('firewall', 'redirect', '--config', file, '--user', '1000')),
      ...(await tables('firewall', 'nftables', '--config', file)),
    ]
    expect(new Set(made)).toEqual(new Set(['sallyport_redirect', 'sallyport']))
    const rendered = [
      ...(await tables('render', 'nftables', '--redirect', '1000')),
      ...(await tables('render', 'nftables')),
    ]
    expect(new Set(rendered)).toEqual(new Set(['sallyport_redirect_static', 'sallyport_static']))
  })

  test.each([
    [['render', 'ipfw'], 'no target "ipfw"; there are nftables, iptables, squid'],
    [['render', 'squid', '--redirect', '1000'], '--redirect is for nftables and iptables'],
    [['render', 'nftables', '--redirect', 'root'], 'write a numeric user id, or all'],
    [['render', 'nftables', '--redirect', '65532'], "that is the gate's own user"],
    [['render', 'nftables', '--transparent', '3129'], 'write the address of the transparent listener'],
    [['render', 'nftables', '--config', '/nonexistent.yaml'], 'no such file'],
    [['render', 'hosts', '--config', `${FIXTURES}bad-port.yaml`], 'expected a port number'],
  ])('%j is wrong usage, and prints nothing that could be piped on', async (args, message) => {
    const { code, stdout, stderr } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toContain(message)
  })
})
