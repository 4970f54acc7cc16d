/** Reload, candidate, drain delay and passed sockets: the real program, its signals and its files. On both wires. */
import { spawn } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest'
import { loadConfig, type Config } from '../../src/config/load.ts'
import { compareConfigs, RELOADED } from '../../src/config/compare.ts'
import { takeListenFds, withSockets } from '../../src/cli/listen-fds.ts'
import { readBundledPresets } from '../../src/presets/bundled.ts'
import { ask } from '../support/admin.ts'
import { until } from '../support/deadline.ts'
import { EchoServer } from '../support/echo-server.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'
import { serve, type Line, type Served } from '../support/served.ts'
import { PROGRAM, ROOT } from './run.ts'

const WIRES = process.platform === 'linux' ? (['portable', 'kernel'] as const) : (['portable'] as const)

let origin: EchoServer
beforeEach(async () => {
  origin = await EchoServer.start()
  return () => origin.close()
})

/** A policy for these hosts on the origin's port. */
function policyFor(hosts: readonly string[], more: Readonly<Record<string, unknown>> = {}) {
  return { presets: [], allow: hosts.map((host) => ({ host, port: origin.port })), sni: 'off', ...more }
}

function configFor(hosts: readonly string[], more: Readonly<Record<string, unknown>> = {}) {
  return {
    policy: policyFor(hosts),
    dns: { hosts: Object.fromEntries(['a.test', 'b.test', 'c.test'].map((host) => [host, ['127.0.0.1']])) },
    addresses: { allow: ['127.0.0.0/8'] },
    ...more,
  }
}

async function connectTo(port: number, host: string): Promise<{ status: number; client: RawClient }> {
  const client = await RawClient.connect(port)
  onTestFinished(() => client.destroy())
  await client.send(connectRequest(`${host}:${origin.port}`))
  return { status: (await client.reply()).status, client }
}

async function echoes(client: RawClient, text: string): Promise<boolean> {
  await client.send(text)
  return (await client.bytes(text.length)).toString() === text
}

const of = (gate: Served, action: string): readonly Line[] =>
  gate.records().filter((record) => record.event.action === action)

/** The nth record of an action, once it is there. */
async function nth(gate: Served, action: string, count = 1): Promise<Line> {
  await until(() => of(gate, action).length >= count, `${count} x ${action}`)
  const record = of(gate, action)[count - 1]
  if (!record) throw new Error(`no ${action}`)
  return record
}

describe.each([
  ...WIRES.map((wire) => ({ name: wire, wire, workers: 1 })),
  ...(process.platform === 'linux' ? [{ name: 'kernel, two workers', wire: 'kernel', workers: 2 }] : []),
])('reload ($name)', ({ wire, workers }) => {
  const start = (config: Readonly<Record<string, unknown>>) => serve({ ...config, wire, workers })

  test('on SIGHUP: new connections have the new policy, open tunnels stay, and the record says what changed', async () => {
    const gate = await start(configFor(['a.test', 'b.test']))
    const { client } = await connectTo(gate.port, 'a.test')
    expect(await echoes(client, 'open')).toBe(true)
    expect((await connectTo(gate.port, 'c.test')).status).toBe(403)

    writeFileSync(gate.file, gate.textWith({ policy: policyFor(['b.test', 'c.test']) }))
    gate.child.kill('SIGHUP')
    const record = await nth(gate, 'gate-reloaded')
    const [started] = gate.records()
    expect(record.sallyport).toMatchObject({
      previous: started?.sallyport['policy'],
      added: [`c.test:${origin.port}`],
      removed: [`a.test:${origin.port}`],
      revoked: {
        count: 1,
        action: 'kept',
        tunnels: [{ target: `a.test:${origin.port}`, client: '127.0.0.1', id: expect.any(String) }],
      },
    })
    expect(record.sallyport['policy']).not.toBe(started?.sallyport['policy'])
    expect((await connectTo(gate.port, 'a.test')).status).toBe(403)
    const now = await connectTo(gate.port, 'c.test')
    expect(now.status).toBe(200)
    expect(await echoes(client, 'still here')).toBe(true)
    for (const open of [client, now.client]) open.destroy()
    gate.child.kill('SIGTERM')
    const stopped = await nth(gate, 'gate-stopped')
    expect(stopped.sallyport['policy']).toBe(record.sallyport['policy'])
  })

  test('onRevoke: close ends the tunnels that the new policy would refuse, and no others', async () => {
    const gate = await start(configFor(['a.test', 'b.test']))
    const [lost, kept] = [await connectTo(gate.port, 'a.test'), await connectTo(gate.port, 'b.test')]
    for (const { client } of [lost, kept]) expect(await echoes(client, 'open')).toBe(true)
    writeFileSync(gate.file, gate.textWith({ policy: policyFor(['b.test'], { onRevoke: 'close' }) }))
    gate.child.kill('SIGHUP')
    expect(await lost.client.ended()).toMatch(/fin|reset/)
    const { sallyport, message } = await nth(gate, 'gate-reloaded')
    expect(sallyport).toMatchObject({
      changed: ['policy.onRevoke: keep -> close'],
      revoked: { count: 1, action: 'closed' },
    })
    expect(message).toBe(
      `reloaded: removed a.test:${origin.port}; policy.onRevoke: keep -> close; 1 open tunnels it would refuse closed`,
    )
    expect((await nth(gate, 'tunnel-closed')).event.reason).toBe('policy_revoked')
    expect(await echoes(kept.client, 'untouched')).toBe(true)
  })

  test.each([
    ['truncated', (text: string) => text.slice(0, text.length / 2)],
    ['empty policy', () => 'policy: { presets: [] }'],
    ['invalid', () => 'policy: { modes: enforce }'],
    ['not text', () => Buffer.from([0xff, 0xfe, 0x00])],
  ])('%s: the old policy stays, and the record says why', async (_name, spoil) => {
    const gate = await start(configFor(['a.test']))
    writeFileSync(gate.file, spoil(gate.textWith({})))
    gate.child.kill('SIGHUP')
    const record = await nth(gate, 'gate-reload-failed')
    expect(record.sallyport['policy']).toBe(gate.records()[0]?.sallyport['policy'])
    expect(record.sallyport['issues']).toEqual([expect.stringContaining(gate.file), ...rest(record)])
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    // And a good one is taken afterwards.
    writeFileSync(gate.file, gate.textWith({ policy: policyFor(['b.test']) }))
    gate.child.kill('SIGHUP')
    await nth(gate, 'gate-reloaded')
    expect((await connectTo(gate.port, 'b.test')).status).toBe(200)
  })

  test('unreadable: the old policy stays', async () => {
    const gate = await start(configFor(['a.test']))
    unlinkSync(gate.file)
    gate.child.kill('SIGHUP')
    const record = await nth(gate, 'gate-reload-failed')
    expect(record.message).toContain('no such file')
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
  })

  test('forward is turned on and off, and waits for no restart', async () => {
    const gate = await start(configFor(['a.test']))
    const statusOf = async (): Promise<number> => {
      const client = await RawClient.connect(gate.port)
      onTestFinished(() => client.destroy())
      await client.send(`GET https://a.test:${origin.port}/ HTTP/1.1\r\nHost: a.test:${origin.port}\r\n\r\n`)
      return (await client.reply()).status
    }
    expect(await statusOf()).toBe(405)
    writeFileSync(gate.file, gate.textWith({ forward: { absoluteForm: 'on' } }))
    expect((await nth(gate, 'gate-reloaded')).sallyport['restart']).toBeUndefined()
    // The host is reached, and speaks no TLS.
    expect(await statusOf()).toBe(502)
    writeFileSync(gate.file, gate.textWith({}))
    await nth(gate, 'gate-reloaded', 2)
    expect(await statusOf()).toBe(405)
  })

  test('keys that need a restart are named, and the rest is in force', async () => {
    const gate = await start(configFor(['a.test']))
    const changed = { policy: policyFor(['b.test']), listen: '127.0.0.1:1', audit: { record: 'denied' } }
    writeFileSync(gate.file, gate.textWith(changed))
    gate.child.kill('SIGHUP')
    const record = await nth(gate, 'gate-reloaded')
    expect(record.sallyport['restart']).toEqual(['listen', 'audit'])
    expect((await connectTo(gate.port, 'b.test')).status).toBe(200)
  })
})

/** The second and later issues of a record. */
function rest(record: Line): readonly unknown[] {
  const issues = record.sallyport['issues']
  return Array.isArray(issues) ? issues.slice(1) : []
}

describe('a change of the file is noticed', () => {
  test('written in place', async () => {
    const gate = await serve(configFor(['a.test']))
    writeFileSync(gate.file, gate.textWith({ policy: policyFor(['b.test']) }))
    expect((await nth(gate, 'gate-reloaded')).sallyport['trigger']).toBe('file')
    expect((await connectTo(gate.port, 'b.test')).status).toBe(200)
  })

  test('replaced by a rename, twice', async () => {
    const gate = await serve(configFor(['a.test']))
    for (const [count, host] of [
      [1, 'b.test'],
      [2, 'c.test'],
    ] as const) {
      writeFileSync(`${gate.file}.new`, gate.textWith({ policy: policyFor([host]) }))
      renameSync(`${gate.file}.new`, gate.file)
      await nth(gate, 'gate-reloaded', count)
      expect((await connectTo(gate.port, host)).status).toBe(200)
    }
  })

  test('the link of a Kubernetes ConfigMap is swapped, twice', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-configmap-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    /** As the kubelet does it: a new folder, and `..data` renamed over the old link. */
    const publish = (version: string, text: string): void => {
      mkdirSync(join(folder, `..${version}`))
      writeFileSync(join(folder, `..${version}`, 'sallyport.yaml'), text)
      symlinkSync(`..${version}`, join(folder, '..data_tmp'))
      renameSync(join(folder, '..data_tmp'), join(folder, '..data'))
    }
    const trail = join(folder, 'trail', 'audit.ndjson')
    mkdirSync(join(folder, 'trail'))
    const text = (host: string): string =>
      JSON.stringify({
        ...configFor([host]),
        listen: '127.0.0.1:0',
        admin: { listen: null },
        audit: { stdout: false, file: { path: trail } },
      })
    publish('v1', text('a.test'))
    symlinkSync('..data/sallyport.yaml', join(folder, 'sallyport.yaml'))
    const gate = await serve({}, { config: join(folder, 'sallyport.yaml'), trail })
    for (const [count, host] of [
      [1, 'b.test'],
      [2, 'c.test'],
    ] as const) {
      publish(`v${count + 1}`, text(host))
      rmSync(join(folder, `..v${count}`), { recursive: true })
      expect((await nth(gate, 'gate-reloaded', count)).sallyport['trigger']).toBe('file')
      expect((await connectTo(gate.port, host)).status).toBe(200)
    }
  })

  test('a link to a folder is swapped, twice', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-releases-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const current = join(folder, 'current')
    const trail = join(folder, 'audit.ndjson')
    const hosts = ['a.test', 'b.test', 'c.test']
    for (const [version, host] of hosts.entries()) {
      mkdirSync(join(folder, `v${version}`, 'etc'), { recursive: true })
      const text = { ...configFor([host]), listen: '127.0.0.1:0', admin: { listen: null } }
      const audit = { stdout: false, file: { path: trail } }
      writeFileSync(join(folder, `v${version}`, 'etc', 'gate.yaml'), JSON.stringify({ ...text, audit }))
    }
    symlinkSync('v0', current)
    const gate = await serve({}, { config: join(current, 'etc', 'gate.yaml'), trail })
    for (const [version, host] of hosts.entries()) {
      if (version === 0) continue
      symlinkSync(`v${version}`, `${current}.new`)
      renameSync(`${current}.new`, current)
      expect((await nth(gate, 'gate-reloaded', version)).sallyport['trigger']).toBe('file')
      expect((await connectTo(gate.port, host)).status).toBe(200)
    }
  })

  test.each([
    {
      what: 'a candidate',
      path: (config: string) => join(dirname(config), 'next.yaml'),
      naming: (candidate: string) => ({ policy: policyFor(['a.test'], { candidate }) }),
      good: (host: string) => JSON.stringify({ policy: policyFor([host]) }),
    },
    {
      what: 'passwords, in a folder that is not there either',
      path: (config: string) => join(dirname(config), 'later', 'still', 'users'),
      naming: (passwords: string) => ({ clients: { passwords } }),
      good: (comment: string) => `# ${comment}`,
    },
  ])('in a file that a reload has named: $what', async ({ path, naming, good }) => {
    const gate = await serve(configFor(['a.test']))
    const file = path(gate.file)
    // From here on the configuration stays as it is: each next reload is for the sake of that file.
    writeFileSync(gate.file, gate.textWith(naming(file)))
    expect((await nth(gate, 'gate-reload-failed')).message).toContain('no such file')
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(`${file}.new`, '{ nonsense')
    renameSync(`${file}.new`, file)
    await until(
      () => of(gate, 'gate-reload-failed').some(({ message }) => /:1(:|$)/.test(message)),
      'another failure, of what is in the file',
    )
    writeFileSync(`${file}.new`, good('b.test'))
    renameSync(`${file}.new`, file)
    expect((await nth(gate, 'gate-reloaded')).sallyport['trigger']).toBe('file')
    writeFileSync(file, good('c.test'))
    await nth(gate, 'gate-reloaded', 2)
  })

  test('a file that says the same, and one that is none of ours, change nothing', async () => {
    const gate = await serve(configFor(['a.test']))
    writeFileSync(`${gate.file}.other`, 'x')
    writeFileSync(gate.file, gate.textWith({}))
    writeFileSync(gate.file, `${gate.textWith({ policy: policyFor(['b.test']) })}\n`)
    const record = await nth(gate, 'gate-reloaded')
    expect(record.sallyport['added']).toEqual([`b.test:${origin.port}`])
    expect(of(gate, 'gate-reloaded')).toHaveLength(1)
  })
})

describe('a candidate', () => {
  /** The file of one that differs in its hosts alone. */
  const candidateFor = (hosts: readonly string[]): string =>
    JSON.stringify({ policy: policyFor(hosts), addresses: { allow: ['127.0.0.0/8'] } })

  test('decides beside the policy in force, and records where it differs', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-candidate-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const candidate = join(folder, 'next.yaml')
    writeFileSync(candidate, candidateFor(['b.test', 'c.test']))
    const gate = await serve(configFor([], { policy: policyFor(['a.test', 'b.test'], { candidate }) }))
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    expect((await connectTo(gate.port, 'b.test')).status).toBe(200)
    expect((await connectTo(gate.port, 'c.test')).status).toBe(403)
    await nth(gate, 'tunnel-denied')
    const [a, b] = of(gate, 'tunnel-opened')
    const policy = expect.stringMatching(/^sha256:[0-9a-f]{64}$/)
    expect(a?.sallyport['candidate']).toEqual({ decision: 'denied', reason: 'host_not_allowed', policy })
    expect(b?.sallyport['candidate']).toBeUndefined()
    const [c] = of(gate, 'tunnel-denied')
    expect(c?.sallyport['candidate']).toEqual({ decision: 'allowed', policy })

    // The candidate's own file is watched too.
    writeFileSync(candidate, candidateFor(['a.test', 'b.test', 'c.test']))
    await nth(gate, 'gate-reloaded')
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    await until(() => of(gate, 'tunnel-opened').length === 3, 'the third tunnel')
    expect(of(gate, 'tunnel-opened')[2]?.sallyport['candidate']).toBeUndefined()

    writeFileSync(candidate, 'policy: { presets: [nothing] }')
    const failed = await nth(gate, 'gate-reload-failed')
    expect(failed.message).toContain('policy.candidate')
  })

  test('compares clients and addresses, too', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-candidate-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const candidate = join(folder, 'next.yaml')
    const policy = policyFor(['a.test'])
    const addresses = { allow: ['127.0.0.0/8'] }
    writeFileSync(candidate, JSON.stringify({ policy, addresses, clients: { allow: ['10.0.0.0/8'] } }))
    const gate = await serve(configFor([], { policy: { ...policy, candidate } }))
    const differs = async (count: number): Promise<unknown> =>
      (await nth(gate, 'tunnel-opened', count)).sallyport['candidate']
    const hash = expect.stringMatching(/^sha256:/)
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    expect(await differs(1)).toEqual({ decision: 'denied', reason: 'client_not_allowed', policy: hash })

    writeFileSync(candidate, JSON.stringify({ policy }))
    await nth(gate, 'gate-reloaded')
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    expect(await differs(2)).toEqual({ decision: 'denied', reason: 'address_prohibited', policy: hash })

    writeFileSync(candidate, JSON.stringify({ policy, addresses }))
    await nth(gate, 'gate-reloaded', 2)
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    expect(await differs(3)).toBeUndefined()

    // And the other way: the address is let through by the candidate alone.
    writeFileSync(gate.file, gate.textWith({ policy: { ...policy, candidate }, addresses: { allow: [] } }))
    await nth(gate, 'gate-reloaded', 3)
    expect((await connectTo(gate.port, 'a.test')).status).toBe(403)
    const denied = await nth(gate, 'tunnel-denied')
    expect(denied.event.reason).toBe('address_prohibited')
    expect(denied.sallyport['candidate']).toEqual({ decision: 'allowed', policy: hash })
  })

  test.each([1, 2])(
    'is counted, and on record from opening to end with `audit.record: denied` (workers: %i)',
    async (workers) => {
      const folder = mkdtempSync(join(tmpdir(), 'sallyport-candidate-'))
      onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
      const [candidate, trail] = [join(folder, 'next.yaml'), join(folder, 'audit.ndjson')]
      writeFileSync(candidate, candidateFor(['b.test', 'c.test']))
      const config = configFor([], {
        workers,
        policy: policyFor(['a.test', 'b.test'], { candidate }),
        audit: { record: 'denied', stdout: false, file: { path: trail } },
        admin: { listen: '127.0.0.1:0' },
      })
      const gate = await serve(config, { trail })
      const [a, b] = [await connectTo(gate.port, 'a.test'), await connectTo(gate.port, 'b.test')]
      expect([a.status, b.status]).toEqual([200, 200])
      expect((await connectTo(gate.port, 'c.test')).status).toBe(403)
      await nth(gate, 'tunnel-denied')

      const admin = Number(String(gate.records()[0]?.sallyport['admin']).split(':').at(-1))
      const { body } = await ask(admin, '/metrics')
      const differs = body.match(/^sallyport_candidate_differs_total\{.*\} [1-9].*$/gm)
      expect(differs).toEqual([
        'sallyport_candidate_differs_total{decision="denied",outcome="host_not_allowed"} 1',
        'sallyport_candidate_differs_total{decision="allowed",outcome="host_not_allowed"} 1',
      ])

      for (const { client } of [a, b]) client.destroy()
      await nth(gate, 'tunnel-closed')
      gate.child.kill('SIGTERM')
      expect(await gate.end()).toBe(0)
      // Nothing of b, of which both policies say the same; and no worker is missed for what it left open.
      const told = gate
        .records()
        .map(({ event: { action, id }, sallyport }) => [action, id, 'candidate' in sallyport])
      const id = told.find(([action]) => action === 'tunnel-opened')?.[1]
      expect(told).toEqual([
        ['gate-started', undefined, false],
        ['tunnel-opened', id, true],
        ['tunnel-denied', expect.any(String), true],
        ['tunnel-closed', id, false],
        ['gate-draining', undefined, false],
        ['gate-stopped', undefined, false],
      ])
    },
  )
})

describe('limits.drainDelay', () => {
  test('after SIGTERM the gate goes on as ever for that long; a second signal does not wait', async () => {
    const gate = await serve(configFor(['a.test'], { limits: { drainDelay: '1h' } }))
    gate.child.kill('SIGTERM')
    await nth(gate, 'gate-draining')
    expect((await connectTo(gate.port, 'a.test')).status).toBe(200)
    gate.child.kill('SIGTERM')
    expect(await gate.end()).toBe(1)
  })

  test('then it drains', async () => {
    const gate = await serve(configFor(['a.test'], { limits: { drainDelay: '50ms' } }))
    gate.child.kill('SIGTERM')
    expect(await gate.end()).toBe(0)
  })
})

describe.skipIf(process.platform !== 'linux')('sockets of a service manager', () => {
  /** Far more than come while the gate runs and restarts. */
  const MAX_CLIENTS = 400

  /** Holds a listening socket, as systemd does, and runs the program with it, again and again. */
  async function activate(file: string) {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const bound = server.address()
    const handle: unknown = Reflect.get(server, '_handle')
    const fd = typeof handle === 'object' && handle !== null ? Number(Reflect.get(handle, 'fd')) : Number.NaN
    // Only a shell knows the process id before the program runs.
    const once = 'echo "pid $$"; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@"'
    const script = `while read -r _; do sh -c '${once}' "$0" "$@"; echo "ended $?"; done`
    const args = ['-c', script, process.execPath, PROGRAM, 'serve', '--config', file]
    const manager = spawn('sh', args, { cwd: ROOT, stdio: ['pipe', 'pipe', 'inherit', fd] })
    let out = ''
    manager.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
      out += chunk
    })
    // From here on the shell alone has it: nobody accepts while the program does not run.
    server.close()
    const found = (pattern: RegExp): readonly string[] =>
      [...out.matchAll(pattern)].map(([, text]) => text ?? '')
    const pids = (): readonly number[] => found(/^pid (\d+)$/gm).map(Number)
    onTestFinished(() => {
      manager.kill('SIGKILL')
      try {
        process.kill(pids().at(-1) ?? 0, 'SIGKILL')
      } catch {
        // It has ended.
      }
    })
    return {
      port: bound !== null && typeof bound === 'object' ? bound.port : 0,
      out: () => out,
      run: () => manager.stdin?.write('\n'),
      pids,
      endings: () => found(/^ended (\d+)$/gm),
    }
  }

  test.each([
    ['portable', 1],
    ['kernel', 1],
    ['kernel', 2],
  ] as const)('are used, and a restart loses no connection (%s, %i workers)', async (wire, workers) => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-fds-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const file = join(folder, 'config.yaml')
    const more = { wire, workers, audit: { stdout: true }, admin: { listen: null } }
    writeFileSync(file, JSON.stringify({ ...configFor(['a.test']), ...more }))
    const manager = await activate(file)
    const { port } = manager

    const early = connectTo(port, 'a.test')
    manager.run()
    const before = await early
    expect(before.status).toBe(200)
    expect(await echoes(before.client, 'open')).toBe(true)
    // Who waited at the socket may be on record before the start is.
    await until(() => manager.out().includes(`"listen":["127.0.0.1:${port}"]`), 'the start on record')
    before.client.destroy()
    process.kill(manager.pids()[0] ?? 0, 'SIGTERM')
    await until(() => manager.endings().length === 1, 'the end')
    expect(manager.endings()).toEqual(['0'])

    // Nobody accepts now, and nobody is refused.
    const waiting = connectTo(port, 'a.test')
    manager.run()
    const after = await waiting
    expect(after.status).toBe(200)
    expect(await echoes(after.client, 'open again')).toBe(true)
  })

  test.each([
    ['portable', 1],
    ['kernel', 1],
    ['kernel', 2],
  ] as const)(
    'nor one of a client that comes all the while (%s, %i workers)',
    async (wire, workers) => {
      const folder = mkdtempSync(join(tmpdir(), 'sallyport-fds-'))
      onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
      const file = join(folder, 'config.yaml')
      const more = { wire, workers, audit: { stdout: true }, admin: { listen: null } }
      writeFileSync(file, JSON.stringify({ ...configFor(['a.test']), ...more }))
      const manager = await activate(file)
      const starts = (): number => manager.out().split('"action":"gate-started"').length - 1
      manager.run()
      await until(() => starts() === 1, 'the start on record')

      /** What became of each; a client is one after the other, without a pause. Some of them, so that the end hits one. */
      const outcomes: string[] = []
      const enough = new AbortController()
      const comeAndGo = async (): Promise<void> => {
        while (!enough.signal.aborted && outcomes.length < MAX_CLIENTS) {
          try {
            const client = await RawClient.connect(manager.port)
            await client.send(connectRequest(`a.test:${origin.port}`))
            const { statusLine, status } = await client.reply()
            const works = status === 200 && (await echoes(client, 'x'))
            outcomes.push(works ? 'works' : statusLine)
            client.destroy()
          } catch (error) {
            outcomes.push(String(error))
          }
        }
      }
      const moreClients = async (): Promise<void> => {
        const enoughClients = Math.min(outcomes.length + 20, MAX_CLIENTS)
        await until(() => outcomes.length >= enoughClients, 'more clients')
      }
      const coming = Promise.all(Array.from({ length: 4 }, comeAndGo))
      // Whether an end hits a client is luck; that three miss four of them is rare.
      for (let restart = 1; restart <= 3; restart += 1) {
        await moreClients()
        process.kill(manager.pids()[restart - 1] ?? 0, 'SIGTERM')
        await until(() => manager.endings().length === restart, 'the end')
        manager.run()
        await until(() => starts() === restart + 1, 'the next start on record')
      }
      await moreClients()
      enough.abort()
      await coming
      expect(outcomes.filter((outcome) => outcome !== 'works')).toEqual([])
    },
    60_000,
  )
})

describe('passed sockets', () => {
  test('are for the process that they are meant for, and no child of it', () => {
    const env = (pid: string) => ({ LISTEN_PID: pid, LISTEN_FDS: '2', LISTEN_FDNAMES: 'a:b', PATH: '/bin' })
    const mine: NodeJS.ProcessEnv = env('42')
    expect(takeListenFds(mine, 42)).toBe(2)
    expect(mine).toEqual({ PATH: '/bin' })
    expect(takeListenFds(env('41'), 42)).toBe(0)
    expect(takeListenFds({ LISTEN_PID: '42', LISTEN_FDS: 'x' }, 42)).toBe(0)
    expect(takeListenFds({}, 42)).toBe(0)
  })

  test('go to the listeners in order, and have to be as many', () => {
    const listen = [
      { host: '127.0.0.1', port: 1 },
      { host: '::1', port: 2 },
    ]
    expect(withSockets(listen, 0)).toBe(listen)
    expect(withSockets(listen, 2)).toEqual([
      { host: '127.0.0.1', port: 1, fd: 3 },
      { host: '::1', port: 2, fd: 4 },
    ])
    expect(withSockets(listen, 1)).toContain('passed 1 listening sockets and `listen` has 2 entries')
  })
})

describe('what a configuration changes', () => {
  const TODAY = Date.parse('2026-11-23T12:00:00Z')
  const config = (text: string): Config => {
    const result = loadConfig({ text, name: 'test', presets: readBundledPresets(), nowMs: 0 })
    if (!result.ok) throw new Error(JSON.stringify(result.issues))
    return result.config
  }

  const change = (before: string, after: string) => {
    const was = config(before)
    return compareConfigs(was, config(after), was, TODAY)
  }
  const nothing = { added: [], removed: [], changed: [], clients: [], restart: [] }

  test('hosts of clients count, and clients with another policy are named', () => {
    const rules = (host: string): string =>
      `{ clients: { rules: [{ name: ci, from: [10.0.0.0/8], policy: { allow: [{ host: ${host} }] } }] } }`
    expect(change(rules('x.example.com'), rules('y.example.com'))).toEqual({
      ...nothing,
      added: ['y.example.com:443'],
      removed: ['x.example.com:443'],
      clients: ['ci'],
    })
  })

  test.each([
    ['no rule', '', []],
    ['a deny rule takes back', '{ host: enforce.dev }', ['enforce.dev:443']],
    [
      'one for all subdomains, too',
      "{ host: '*.enforce.dev', port: 443 }",
      ['console-api.enforce.dev:443', 'dl.enforce.dev:443', 'issuer.enforce.dev:443'],
    ],
    [
      'one that is in force until some day',
      '{ host: enforce.dev, expires: 2027-01-31 }',
      ['enforce.dev:443'],
    ],
    ['one that has expired does not', '{ host: enforce.dev, expires: 2020-01-31 }', []],
    ['nor one for another port', '{ host: enforce.dev, port: 80 }', []],
  ])('what may be reached: %s', (_name, deny, gone) => {
    const [before, after] = ['wire: auto', `{ policy: { deny: [${deny}] } }`]
    expect(change(before, after)).toMatchObject({ added: [], removed: gone })
    expect(change(after, before)).toMatchObject({ added: gone, removed: [] })
  })

  test.each([
    ['{ policy: { mode: report } }', ['policy.mode: enforce -> report']],
    ['{ policy: { sni: off } }', ['policy.sni: require -> off']],
    ['{ policy: { ipLiterals: verify-sni } }', ['policy.ipLiterals: deny -> verify-sni']],
    ['{ policy: { onRevoke: close } }', ['policy.onRevoke: keep -> close']],
    ['{ policy: { candidate: next.yaml } }', ['policy.candidate: null -> next.yaml']],
    ['{ policy: { deny: [{ host: cgr.dv }] } }', ['policy.deny: +cgr.dv']],
    [
      '{ policy: { allow: [{ host: cgr.dev, sni: off, owner: a, reason: b, expires: 2027-01-31 }] } }',
      ['policy.allow: +cgr.dev:443 sni off until 2027-01-31'],
    ],
    [
      '{ clients: { allow: [127.0.0.0/8, 10.0.0.0/8] } }',
      ['clients.allow: +10.0.0.0/8', 'clients.allow: -::1/128'],
    ],
    [
      '{ clients: { others: deny, rules: [{ name: a, from: [::1/128] }] } }',
      ['clients.others: policy -> deny'],
    ],
    ['{ clients: { passwords: users } }', ['clients.passwords: null -> users']],
    ['{ clients: { maxTunnelsPerClient: 2 } }', ['clients.maxTunnelsPerClient: 1024 -> 2']],
    ['{ addresses: { allow: [10.0.0.0/8] } }', ['addresses.allow: +10.0.0.0/8']],
    ['{ forward: { absoluteForm: on } }', ['forward.absoluteForm: off -> on']],
    ['{ dns: { hosts: { cgr.dev: [203.0.113.7] } } }', ['dns']],
    ['{ limits: { idleTimeout: 1m } }', ['limits']],
  ])('settings are named, with what became of them: %s', (after, changed) => {
    expect(change('{ wire: auto }', after)).toMatchObject({ ...nothing, changed, clients: expect.any(Array) })
  })

  test('so are those of the policies of clients, and who these clients are', () => {
    const rules = (from: string, policy: string): string =>
      `{ clients: { rules: [{ name: ci, from: [${from}], policy: { ${policy} } }, { name: same, users: any }], passwords: x } }`
    const before = rules('10.0.0.0/8', '')
    expect(change(before, rules('10.0.0.0/8', 'mode: report, deny: [{ host: enforce.dev }]'))).toEqual({
      ...nothing,
      changed: ['clients.ci.mode: enforce -> report', 'clients.ci.deny: +enforce.dev'],
      clients: ['ci'],
    })
    expect(change(before, rules('10.0.0.0/7', ''))).toEqual({ ...nothing, clients: ['ci'] })
    expect(change(before, before)).toEqual(nothing)
  })

  test('the document marks what needs a restart, and nothing else', () => {
    const markdown = readFileSync(new URL('../../docs/configuration.md', import.meta.url), 'utf8')
    const rows = [...markdown.matchAll(/^\| `(\w+)(?:\.\w+)?`( \*\*R\*\*)? *\|/gm)].map(
      ([, key = '', mark]) => ({
        key,
        restart: mark !== undefined,
      }),
    )
    // What a listener is made of has no mark of its own.
    const keys = rows.filter(({ key }) => !['tls', 'proxyProtocol'].includes(key))
    expect(keys.length).toBeGreaterThan(40)
    expect(keys).toEqual(keys.map(({ key }) => ({ key, restart: !RELOADED.has(key) })))
  })

  test('a key that waits for a restart is named until it is as it was at the start', () => {
    const [one, two] = [config('wire: portable'), config('wire: auto')]
    expect(compareConfigs(one, two, one, TODAY).restart).toEqual(['wire'])
    expect(compareConfigs(two, two, one, TODAY).restart).toEqual(['wire'])
    expect(compareConfigs(two, one, one, TODAY).restart).toEqual([])
  })
})
