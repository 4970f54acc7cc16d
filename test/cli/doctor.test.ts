/** The real program against a DNS server, hosts and proxies on loopback. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { HOST, openInternet, type Internet } from '../doctor/fake-internet.ts'
import { until, within } from '../support/deadline.ts'
import { addresses, NODATA } from '../support/dns-scripts.ts'
import { freePort } from '../support/free-port.ts'
import { PROGRAM, ROOT, run } from './run.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-doctor-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

let files = 0
function writeFile(text: string): string {
  files += 1
  const file = join(folder, `${files}`)
  writeFileSync(file, text)
  return file
}

/** Allows these on loopback, asks the internet's DNS. */
function configFor(internet: Internet, allow: readonly { host: string; port: number }[]): string {
  for (const { host } of allow)
    internet.dns.on(host, 'A', addresses(60, '127.0.0.1')).on(host, 'AAAA', NODATA)
  return writeFile(
    JSON.stringify({
      policy: { presets: [], allow },
      dns: { servers: [internet.dns.address], timeout: '10s' },
      addresses: { allow: ['127.0.0.0/8'] },
    }),
  )
}

/** The program with the internet's public CA among those that this machine trusts. */
function environment(internet: Internet): NodeJS.ProcessEnv {
  return { ...process.env, NO_COLOR: '1', NODE_EXTRA_CA_CERTS: writeFile(internet.publicCa.cert) }
}

function doctor(
  internet: Internet,
  args: readonly string[],
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [PROGRAM, 'doctor', ...args], {
    cwd: ROOT,
    env: environment(internet),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const text = { stdout: '', stderr: '' }
  for (const name of ['stdout', 'stderr'] as const)
    child[name].setEncoding('utf8').on('data', (chunk: string) => {
      text[name] += chunk
    })
  return within(
    new Promise((resolve) => {
      child.on('close', (code) => resolve({ code, ...text }))
    }),
    'the doctor to end',
    18_000,
  )
}

const names = { commonName: HOST, dnsNames: [HOST] }

test('well: a line for each step, the verdict last, plain in a pipe, exit code 0', async () => {
  const internet = await openInternet()
  const port = await internet.tlsHost(internet.publicCa.issue(names))
  const { code, stdout, stderr } = await doctor(internet, ['-c', configFor(internet, [{ host: HOST, port }])])
  expect(stderr).toBe('')
  const lines = stdout.split('\n')
  expect(lines[0]).toBe(`cgr.dev:${port}  well`)
  expect(lines.slice(1, 6).map((line) => /^ {2}([a-z]+) +(ok|note) +\d+ ms {2}\S/.exec(line)?.[1])).toEqual([
    'dns',
    'guard',
    'tcp',
    'tls',
    'http',
  ])
  expect(stdout).toMatch(/\nVerdict {2}The host is reachable\. \(\d+\.\d s, of at most 60 s\)\n/)
  expect(stdout).not.toContain('\u001B')
  expect(code).toBe(0)
})

test('a finding: exit code 1; --json has the documented shape', async () => {
  const internet = await openInternet()
  const port = await internet.tlsHost(internet.publicCa.issue(names))
  const config = configFor(internet, [
    { host: HOST, port },
    { host: 'closed.example.com', port: await freePort() },
  ])
  const { code, stdout } = await doctor(internet, ['-c', config, '--json'])
  expect(code).toBe(1)
  expect(JSON.parse(stdout)).toMatchObject({
    schema: 1,
    via: null,
    timeLimitMs: 60_000,
    dns: { source: 'config', servers: [internet.dns.address] },
    policy: expect.stringMatching(/^sha256:/),
    hosts: [
      { host: HOST, port, status: 'well', finding: null },
      { host: 'closed.example.com', status: 'finding', finding: { code: 'connect_refused' } },
    ],
    notProbed: [],
    verdict: {
      status: 'finding',
      summary: '1 of 2 hosts is reachable, 1 is not.',
      advice: [{ code: 'connect_refused', owner: 'network', hosts: [{ addresses: ['127.0.0.1'] }] }],
    },
  })
})

test('--via shows what the proxy answered', async () => {
  const internet = await openInternet()
  const proxy = await internet.listen((socket) => {
    socket.once('data', () => socket.end('HTTP/1.1 407 Who are you\r\nProxy-Authenticate: Basic\r\n\r\n'))
  })
  const config = configFor(internet, [{ host: HOST, port: 443 }])
  const args = ['-c', config, '--via', `http://u:secret@127.0.0.1:${proxy}`]
  const { code, stdout, stderr } = await doctor(internet, args)
  expect(code).toBe(1)
  expect(stdout).toContain('HTTP/1.1 407 Who are you')
  expect(stdout).toContain('(proxy_auth_required)')
  expect(stdout + stderr).not.toContain('secret')
})

test('a host that the policy refuses is said with its hint', async () => {
  const { code, stdout } = await run(['doctor', 'cgr.dv'])
  expect(code).toBe(1)
  expect(stdout).toContain('host_not_allowed, did you mean cgr.dev?')
})

test('Ctrl-C prints what is known so far', async () => {
  const internet = await openInternet()
  let reached = false
  const silent = await internet.listen((socket) => {
    socket.once('data', () => {
      reached = true
    })
  })
  const config = configFor(internet, [{ host: HOST, port: silent }])
  const proxy = ['doctor', '-c', config, '--via', `http://127.0.0.1:${silent}`]
  const child = spawn(process.execPath, [PROGRAM, ...proxy], {
    cwd: ROOT,
    env: environment(internet),
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  let stdout = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    stdout += chunk
  })
  await until(() => reached, 'the proxy to be asked')
  child.kill('SIGINT')
  const code = await within(
    new Promise((resolve) => {
      child.on('close', resolve)
    }),
    'the doctor to end',
  )
  expect(code).toBe(1)
  expect(stdout).toMatch(/^cgr\.dev:\d+ {2}unfinished\n {2}proxy +ok /)
  expect(stdout).toContain('1 not known, since the run was interrupted')
})

describe('wrong usage is exit code 2 with a sentence', () => {
  test.each([
    [['--via', 'socks5://u:secret@p'], /^sallyport: --via: expected an address such as http:\/\/proxy:3128/],
    [['--timeout', 'soon'], /^sallyport: --timeout: expected a duration/],
    [['https://cgr.dev/'], /^sallyport: "https:\/\/cgr\.dev\/" is not HOST or HOST:PORT/],
    [['-c', '/nonexistent.yaml'], /^sallyport: \/nonexistent\.yaml: no such file/],
    [['--nonsense'], /unknown option/],
  ])('%j', async (args, said) => {
    const { code, stdout, stderr } = await run(['doctor', ...args])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(said)
    expect(stderr).not.toContain('secret')
  })
})
