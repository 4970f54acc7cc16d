import { describe, expect, test } from 'vitest'
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
