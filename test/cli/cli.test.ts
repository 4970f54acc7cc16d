import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { FIXTURES, PROGRAM, ROOT, run } from './run.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-cli-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

function configFile(name: string, text: string): string {
  const file = join(folder, name)
  writeFileSync(file, text)
  return file
}

const fixture = (name: string): string => join(FIXTURES, `${name}.yaml`)
const lines = (text: string): readonly string[] => text.split('\n').filter((line) => line !== '')

describe('validate', () => {
  test('the default configuration is valid', async () => {
    const { code, stdout, stderr } = await run(['validate'])
    expect(code).toBe(0)
    expect(stdout).toMatch(
      /^config\/sallyport\.yaml: valid; 9 allowed, 0 denied, mode enforce, sha256:[0-9a-f]{64}\n$/,
    )
    expect(stderr).toBe('')
  })

  test('--json says the same in a form for programs', async () => {
    const { code, stdout } = await run(['validate', fixture('complete'), '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject({ valid: true, mode: 'enforce', allow: 9, deny: 0 })
  })

  test('every mistake is listed with file:line:column, and the exit code is 1', async () => {
    const file = fixture('many-defects')
    const { code, stdout, stderr } = await run(['validate', file])
    expect(code).toBe(1)
    expect(stdout).toBe('')
    const said = lines(stderr)
    expect(said).toHaveLength(11)
    for (const line of said.slice(0, -1)) expect(line).toMatch(/^.*many-defects\.yaml:\d+:\d+: [^:]+: \S/)
    expect(said[0]).toBe(`${file}:2:9: listen: ${said[0]?.split(': listen: ')[1]}`)
    expect(said.at(-1)).toBe('10 mistakes')
  })

  test('--json lists them on standard output', async () => {
    const { code, stdout, stderr } = await run(['validate', '--json', fixture('over-broad')])
    expect(code).toBe(1)
    expect(stderr).toBe('')
    expect(JSON.parse(stdout)).toEqual({
      valid: false,
      issues: [3, 4, 5].map((line, index) => ({
        source: fixture('over-broad'),
        line,
        column: 15,
        path: `policy.allow[${index}].host`,
        message: expect.any(String),
      })),
    })
  })

  test.each([
    ['no such file', join(folder, 'absent.yaml'), 'no such file'],
    ['a folder', folder, 'a folder, not a file'],
    ['no UTF-8', fixture('invalid-utf8'), 'not UTF-8 text'],
  ])('what cannot be read is wrong usage: %s', async (_what, file, why) => {
    const { code, stdout, stderr } = await run(['validate', file])
    expect({ code, stdout, stderr }).toEqual({ code: 2, stdout: '', stderr: `sallyport: ${file}: ${why}\n` })
  })

  test.each(['unquoted-wildcard', 'alias-bomb'])('%s is a mistake in a file, not a crash', async (name) => {
    const { code, stderr } = await run(['validate', fixture(name)])
    expect(stderr).not.toMatch(/node_modules|^ +at /m)
    expect(stderr).toMatch(new RegExp(`^.*${name}\\.yaml:\\d+:\\d+: `))
    expect(code).toBe(1)
  })

  test('what is worth a notice is said, and is no mistake', async () => {
    const text = 'policy: { allow: [{ host: example.com, expires: 2020-01-01 }] }\n'
    const { code, stderr } = await run(['validate', configFile('expired.yaml', text)])
    expect(code).toBe(0)
    expect(stderr).toMatch(/^notice: the rule example\.com:443 expired after 2020-01-01/)
  })

  const script = spawnSync('script', ['--version']).stdout?.toString().includes('util-linux') ?? false
  test.skipIf(!script)(
    `on a terminal each mistake has its line and a caret under the spot${script ? '' : ' (needs script of util-linux)'}`,
    async () => {
      const command = `${process.execPath} ${PROGRAM} validate ${fixture('bad-number')}`
      const { code, stdout } = await run(['-qec', command, '/dev/null'], { command: 'script' })
      expect(code).toBe(1)
      const said = lines(stdout.replaceAll('\r', ''))
      const source = readFileSync(fixture('bad-number'), 'utf8').split('\n')
      expect(said.slice(1, 3)).toEqual([`  2 | ${source[1]}`, `    | ${' '.repeat(15)}^`])
      expect(said.filter((line) => line.trimEnd().endsWith('^'))).toHaveLength(3)
      const [, quoted = '', caret = ''] = said
      expect(quoted[caret.indexOf('^')]).toBe('0')
    },
  )

  test('in a pipe there are no excerpts', async () => {
    const { stderr } = await run(['validate', fixture('bad-number')])
    expect(stderr).not.toContain('^')
  })
})

describe('explain', () => {
  test('an allowed target passes every step, and the exit code is 0', async () => {
    const { code, stdout, stderr } = await run(['explain', 'cgr.dev'])
    expect(code).toBe(0)
    expect(stderr).toBe('')
    expect(stdout).toMatch(/^cgr\.dev:443 {2}\(config\/sallyport\.yaml, enforce, sha256:/)
    expect(stdout).not.toContain('NO ')
    expect(stdout).toContain('allowed by cgr.dev:443 of chainguard-2024-05-14 (Main image registry)')
  })

  test.each([
    ['a typo', 'cgr.dv', 'host_not_allowed, did you mean cgr.dev?'],
    ['a wrong port', 'cgr.dev:80', 'port_not_allowed, did you mean cgr.dev:443?'],
    ['a host of a newer preset', 'apk.cgr.dev', 'host_not_allowed, it is in preset chainguard-2026-10-08'],
    ['a host below an allowed one', 'static.cgr.dev', 'host_not_allowed, allowed nearby: cgr.dev'],
    ['an address', '10.0.0.1:443', 'ip_literal, connect by host name'],
    ['an IPv6 address without a port', '[::1]', 'ip_literal, connect by host name'],
    ['a URL', 'https://cgr.dev/v2/', 'malformed_authority, scheme'],
    ['a trailing dot', 'cgr.dev.', 'malformed_authority, trailing dot'],
  ])('%s is denied with its hint, and the exit code is 1', async (_what, target, verdict) => {
    const { code, stdout } = await run(['explain', target])
    expect(code).toBe(1)
    expect(stdout.match(/^ {2}NO /gm)).toHaveLength(1)
    expect(stdout).toContain(`\ndenied: ${verdict}`)
  })

  test('--json has decision, code, hint and every step', async () => {
    const { code, stdout } = await run(['explain', '--json', 'cgr.dv:443'])
    expect(code).toBe(1)
    const said: unknown = JSON.parse(stdout)
    expect(said).toMatchObject({
      target: 'cgr.dv:443',
      decision: 'deny',
      code: 'host_not_allowed',
      hint: 'cgr.dev',
      mode: 'enforce',
      policy: expect.stringMatching(/^sha256:/),
    })
    expect(said).toHaveProperty('steps.3.passed', false)
  })

  const custom = configFile(
    'custom.yaml',
    `policy:
  presets: []
  allow:
    - { host: old.example.com, owner: platform, expires: 2020-01-01 }
    - { host: '*.example.org' }
  deny:
    - { host: bad.example.org, owner: security }
`,
  )
  test.each([
    [
      'an expired rule',
      'old.example.com',
      1,
      'rule_expired, rule old.example.com:443 ended 2020-01-01, owner platform',
    ],
    ['a deny rule', 'bad.example.org', 1, 'rule_denied, rule bad.example.org of policy.deny, owner security'],
    ['a wildcard', 'a.b.example.org', 0, 'allowed by *.example.org:443 of policy.allow'],
    ['its apex', 'example.org', 1, 'host_not_allowed'],
  ])('--config: %s', async (_what, target, exit, verdict) => {
    const { code, stdout } = await run(['explain', '--config', custom, target])
    expect(stdout).toContain(verdict)
    expect(code).toBe(exit)
  })

  test('--allow adds a rule, as serve does', async () => {
    const { code, stdout } = await run([
      'explain',
      '--allow',
      'example.com',
      '--allow',
      '*.example.net',
      'a.example.net',
    ])
    expect(code).toBe(0)
    expect(stdout).toContain('allowed by *.example.net:443 of --allow')
  })

  test('in mode report what would be denied is let through: exit code 0', async () => {
    const file = configFile('report.yaml', 'policy: { mode: report }\n')
    const { code, stdout } = await run(['explain', '--config', file, 'evil.example.com'])
    expect(code).toBe(0)
    expect(stdout).toContain('let through (mode report), enforce would deny: host_not_allowed')
  })

  test.each([
    [
      'an invalid configuration',
      ['--config', fixture('unknown-key'), 'cgr.dev'],
      'unknown-key.yaml:3:1: allowlist',
    ],
    ['no configuration', ['--config', join(folder, 'absent.yaml'), 'cgr.dev'], 'no such file'],
    ['a rule that is too broad', ['--allow', '*.com', 'cgr.dev'], '--allow: `*.com`'],
    ['no target', [], 'missing required argument'],
  ])('%s is wrong usage', async (_what, args, why) => {
    const { code, stdout, stderr } = await run(['explain', ...args])
    expect(code).toBe(2)
    expect(stdout).toBe('')
    expect(stderr).toContain(why)
  })
})

describe('presets', () => {
  const [OLD, NEW] = ['chainguard-2024-05-14', 'chainguard-2026-10-08']

  test('list', async () => {
    for (const args of [['presets', 'list'], ['presets']]) {
      const { code, stdout } = await run(args)
      expect(code).toBe(0)
      expect(lines(stdout)).toEqual([
        expect.stringMatching(new RegExp(`^${OLD} {2}9 hosts +\\S`)),
        expect.stringMatching(new RegExp(`^${NEW} {2}17 hosts +\\S`)),
      ])
    }
  })

  test('list --json', async () => {
    const { code, stdout } = await run(['presets', 'list', '--json'])
    expect(code).toBe(0)
    expect(JSON.parse(stdout)).toMatchObject([
      { name: OLD, date: '2024-05-14', hosts: 9 },
      { name: NEW, date: '2026-10-08', hosts: 17 },
    ])
  })

  test('show lists the hosts under the headings of the page', async () => {
    const { code, stdout } = await run(['presets', 'show', OLD])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^ {2}cgr\.dev +443 {2}HTTPS {2}Main image registry$/m)
    expect(stdout.match(/ 443 {2}HTTPS {2}/g)).toHaveLength(9)
    expect(stdout).toContain('\nChainguard Images Third-party Hosts\n')
    expect(stdout).toContain('egress allows new, ingress related and established')
  })

  test('show --json', async () => {
    const { stdout } = await run(['presets', 'show', NEW, '--json'])
    const shown: unknown = JSON.parse(stdout)
    expect(shown).toMatchObject({ name: NEW, date: '2026-10-08' })
    expect(shown).toHaveProperty('hosts.length', 17)
  })

  test('diff has exit code 1 where there is a difference', async () => {
    const { code, stdout } = await run(['presets', 'diff', OLD, NEW])
    expect(code).toBe(1)
    expect(stdout).toMatch(/^- chainguardhelp\.zendesk\.com +443 /m)
    expect(stdout.match(/^\+ /gm)).toHaveLength(9)
    expect(stdout).toMatch(/^~ cgr\.dev +443 +Main image registry -> Main container image registry$/m)
    expect(lines(stdout).at(-1)).toMatch(/^1 removed, 9 added, \d described anew, \d unchanged$/)
  })

  test('diff --json', async () => {
    const { code, stdout } = await run(['presets', 'diff', '--json', OLD, NEW])
    expect(code).toBe(1)
    expect(JSON.parse(stdout)).toMatchObject({ removed: [{ hostname: 'chainguardhelp.zendesk.com' }] })
  })

  test('diff of a preset with itself has exit code 0', async () => {
    const { code, stdout } = await run(['presets', 'diff', NEW, NEW])
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: '0 removed, 0 added, 0 described anew, 17 unchanged\n',
    })
  })

  test.each([
    ['show', ['show', 'chainguard']],
    ['diff, the first', ['diff', 'chainguard', NEW]],
    ['diff, the second', ['diff', OLD, 'chainguard']],
  ])('an unknown name is wrong usage and is answered with the known ones: %s', async (_what, args) => {
    const { code, stdout, stderr } = await run(['presets', ...args])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(lines(stderr)).toEqual([`sallyport: no preset "chainguard"; there are ${OLD}, ${NEW}`])
  })
})

describe('wrong calls', () => {
  test.each([
    ['an unknown command', ['srve'], /no command "srve"; there are serve, validate, explain, doctor, /],
    ['an unknown option', ['--nonsense'], /unknown option '--nonsense'/],
    ['an unknown option of a command', ['validate', '--nonsense'], /unknown option '--nonsense'/],
    ['a word behind serve', ['serve', 'now'], /too many arguments/],
    ['two files', ['validate', 'a', 'b'], /too many arguments/],
    ['an unknown part of presets', ['presets', 'remove'], /remove/],
    ['one preset to compare', ['presets', 'diff', 'chainguard-2024-05-14'], /missing required argument/],
    ['an option without its value', ['serve', '--listen'], /argument missing/],
  ])('%s: exit code 2, and nothing on standard output', async (_what, args, why) => {
    const { code, stdout, stderr } = await run(args)
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toMatch(why)
    expect(stderr).not.toMatch(/^ +at /m)
  })

  test('--version is that of package.json', async () => {
    const { version }: { version?: unknown } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    expect(await run(['--version'])).toEqual({ code: 0, stdout: `${String(version)}\n`, stderr: '' })
  })

  test.each([[['--help']], [['help']], [['serve', '--help']], [['presets', '--help']]])(
    '%j prints help on standard output',
    async (args) => {
      const { code, stdout, stderr } = await run(args)
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      expect(stdout).toMatch(/^Usage: sallyport/)
    },
  )

  test('help names every command', async () => {
    const { stdout } = await run(['--help'])
    for (const command of ['serve', 'validate', 'explain', 'presets']) {
      expect(stdout).toMatch(new RegExp(`^ {2}${command}\\b`, 'm'))
    }
  })
})

describe('serve', () => {
  async function freePort(): Promise<number> {
    const { server, port } = await occupied()
    server.close()
    await once(server, 'close')
    return port
  }

  async function occupied(): Promise<{ server: Server; port: number }> {
    const server = createServer((socket) => socket.destroy())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const address = server.address()
    if (address === null || typeof address === 'string') throw new Error('no port')
    return { server, port: address.port }
  }

  /** Knocks at a port until told to stop; says whether anybody ever opened. */
  function knock(port: number): () => boolean {
    let opened = false
    const timer = setInterval(() => {
      const socket = connect({ port, host: '127.0.0.1' })
      socket.on('connect', () => {
        opened = true
        socket.destroy()
      })
      socket.on('error', () => undefined)
    }, 5)
    return () => {
      clearInterval(timer)
      return opened
    }
  }

  test.each([
    ['an unknown key', '\nallowlist: [cgr.dev]\n', /serve\.yaml:\d+:1: allowlist: unknown key/],
    ['nothing allowed', '\npolicy: { presets: [], allow: [] }\n', /nothing is allowed/],
    ['an empty section', '\npolicy:\n', /policy: expected a mapping/],
    ['a wildcard over everybody', "\npolicy: { allow: [{ host: '*.com' }] }\n", /everybody who registers/],
    [
      'a wildcard without quotes',
      '\npolicy: { allow: [{ host: *.example.com }] }\n',
      /serve\.yaml:\d+:\d+: /,
    ],
  ])('with %s in the configuration nothing listens: exit code 2', async (_what, rest, why) => {
    const port = await freePort()
    const stopKnocking = knock(port)
    const file = configFile('serve.yaml', `listen: 127.0.0.1:${port}${rest}`)
    const { code, stdout, stderr } = await run(['serve', '--config', file])
    expect(stopKnocking()).toBe(false)
    expect(stderr).toMatch(why)
    expect(lines(stderr).at(-1)).toBe('sallyport: the configuration is invalid; nothing listens')
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
  })

  test.each([
    [
      'a missing configuration',
      ['--config', join(folder, 'absent.yaml')],
      /absent\.yaml: no such file; nothing listens$/,
    ],
    [
      '--allow for every .com',
      ['--allow', '*.com'],
      /^--allow: `\*\.com`: .*everybody who registers a name under com/,
    ],
    ['--allow for an address', ['--allow', '10.0.0.1'], /^--allow: .*IP address/],
    ['--allow for a URL', ['--allow', 'https://cgr.dev'], /^--allow: .*write `cgr\.dev`/],
    ['--listen without a port', ['--listen', '127.0.0.1'], /^--listen: expected an address such as/],
    ['--listen on a name', ['--listen', 'proxy.example.com:3128'], /^--listen: expected an address such as/],
  ])('%s: exit code 2', async (_what, args, why) => {
    const { code, stdout, stderr } = await run(['serve', ...args])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(lines(stderr)[0]).toMatch(why)
  })

  test('with the port in use: exit code 2 and one line that says so', async () => {
    const { server, port } = await occupied()
    try {
      const { code, stdout, stderr } = await run(['serve', '--listen', `127.0.0.1:${port}`])
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
      expect(lines(stderr)).toEqual([
        expect.stringMatching(
          new RegExp(
            `^sallyport: cannot listen on 127\\.0\\.0\\.1:${port}: the port is in use; .*nothing listens$`,
          ),
        ),
      ])
    } finally {
      server.close()
    }
  })

  test('with one of two ports in use neither is left open', async () => {
    const { server, port } = await occupied()
    const other = await freePort()
    try {
      const file = configFile('two.yaml', `listen: ['127.0.0.1:${other}', '127.0.0.1:${port}']\n`)
      const { code, stderr } = await run(['--config', file])
      expect(code).toBe(2)
      expect(stderr).toContain('the port is in use')
    } finally {
      server.close()
    }
  })

  test('it is the default command, prints records only, and ends with 0 on SIGTERM', async () => {
    const { code, stdout, stderr } = await run(['--listen', '127.0.0.1:0', '--allow', 'example.com'], {
      onStdout: (text, stop) => {
        // Once: a second signal is another story.
        if (text.includes('gate-started') && !text.includes('gate-draining')) stop()
      },
    })
    expect(stderr).toBe('')
    const actions = lines(stdout).map((line) => {
      const record: { event?: { action?: unknown } } = JSON.parse(line)
      return record.event?.action
    })
    expect(actions).toEqual(['gate-started', 'gate-draining', 'gate-stopped'])
    expect(code).toBe(0)
  })
})
