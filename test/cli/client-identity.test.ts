/** `passwd`, `explain --client`, and the real curl with a user. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { parsePasswordFile } from '../../src/proxy/password-file.ts'
import { createVerifier } from '../../src/proxy/verify-password.ts'
import { freePort } from '../support/free-port.ts'
import { PROGRAM, run } from './run.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-identity-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function passwd(user: string, input: string): string {
  return execFileSync(process.execPath, [PROGRAM, 'passwd', user], { input, encoding: 'utf8', stdio: 'pipe' })
}

async function check(line: string, user: string, password: string): Promise<unknown> {
  const file = parsePasswordFile(line)
  return file.ok && createVerifier(file.entries)({ user, password }, 'test')
}

const CONFIG = join(folder, 'config.yaml')
const PASSWORDS = join(folder, 'passwords')

describe('passwd', () => {
  test.each([
    ['with a line feed', 'correct horse\n'],
    ['without one', 'correct horse'],
    ['with the line end of Windows', 'correct horse\r\n'],
    ['and nothing of what follows', 'correct horse\nmore\n'],
  ])('takes the first line of standard input, %s', async (_what, input) => {
    const line = passwd('ada', input)
    expect(line).toMatch(/^ada:\$scrypt\$ln=15,r=8,p=3\$\S+\$\S+\n$/)
    expect(await check(line, 'ada', 'correct horse')).toBe('right')
    expect(await check(line, 'ada', 'correct horse\n')).toBe('wrong')
  })

  test('--generate makes one that is on standard error alone', async () => {
    const { code, stdout, stderr } = await run(['passwd', 'ci', '--generate'])
    expect(code).toBe(0)
    expect(stderr).toMatch(/^[\w-]{24}\n$/)
    expect(stdout).not.toContain(stderr.trim())
    expect(await check(stdout, 'ci', stderr.trim())).toBe('right')
  })

  test.each([
    ['a name with a colon', ['a:b'], 'pass word 1'],
    ['a short password', ['ada'], 'seven77\n'],
    ['no password', ['ada'], ''],
    ['a control character', ['ada'], 'pass\tword\n'],
  ])('%s is refused with exit code 2', (_what, args, input) => {
    let status: unknown
    try {
      execFileSync(process.execPath, [PROGRAM, 'passwd', ...args], { input, stdio: 'pipe' })
    } catch (error) {
      status = error instanceof Error && 'status' in error && error.status
    }
    expect(status).toBe(2)
  })
})

describe('explain --client', () => {
  writeFileSync(PASSWORDS, passwd('ada', 'correct horse'))
  writeFileSync(
    CONFIG,
    `policy: { presets: [], allow: [{ host: a.example.com }] }
clients:
  allow: [127.0.0.0/8, 10.0.0.0/8]
  passwords: ${PASSWORDS}
  rules:
    - { name: ci, from: [10.0.0.0/8], policy: { allow: [{ host: b.example.com }] } }
    - { name: people, from: [127.0.0.1], users: [ada] }
  others: deny
`,
  )
  test.each([
    ['10.1.2.3', 'b.example.com', 0, 'client ci'],
    ['::ffff:10.1.2.3', 'b.example.com', 0, 'client ci'],
    ['ci', 'a.example.com', 1, 'host_not_allowed'],
    ['people', 'a.example.com', 0, 'client people'],
    ['127.0.0.1', 'a.example.com', 1, 'credentials_missing'],
    ['127.0.0.2', 'a.example.com', 1, 'client_unknown'],
    ['192.0.2.1', 'a.example.com', 1, 'client_not_allowed'],
    ['nobody', 'a.example.com', 2, 'neither an address nor a rule'],
  ])('%s asks for %s', async (client, host, code, said) => {
    const ended = await run(['explain', host, '--config', CONFIG, '--client', client])
    expect(ended.stdout + ended.stderr).toContain(said)
    expect(ended.code).toBe(code)
  })

  test('--json', async () => {
    const { stdout } = await run(['explain', 'b.example.com', '-c', CONFIG, '--client', '10.1.2.3', '--json'])
    expect(JSON.parse(stdout)).toMatchObject({ client: 'ci', decision: 'allow' })
    const refused = await run(['explain', 'b.example.com', '-c', CONFIG, '--client', '127.0.0.2', '--json'])
    expect(JSON.parse(refused.stdout)).toMatchObject({ decision: 'deny', code: 'client_unknown' })
  })
})

describe('files that the configuration names', () => {
  test.each([
    ['is missing', join(folder, 'nowhere'), 'no such file'],
    ['has a bad line', CONFIG, `${CONFIG}:1: `],
  ])('a password file that %s: validate finds it, and serve does not start', async (_what, path, said) => {
    const file = join(folder, 'broken.yaml')
    writeFileSync(
      file,
      `listen: 127.0.0.1:${await freePort()}\nclients: { passwords: ${path}, rules: [{ name: x, users: any }] }\n`,
    )
    const validated = await run(['validate', file])
    expect(validated.stderr).toContain(said)
    expect(validated.code).toBe(1)
    const served = await run(['serve', '--config', file])
    expect(served.stderr).toContain(said)
    expect(served).toMatchObject({ code: 2, stdout: '' })
  })
})
