/** What the admin API says, over one process and over several. With the real program. */
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { ROUTES } from '../../src/admin/routes.ts'
import { ROOT, run } from '../cli/run.ts'
import {
  ask,
  holdStream,
  serveWithAdmin,
  TOKEN,
  withToken,
  type AdminGate,
  type AskOptions,
} from '../support/admin.ts'
import { until } from '../support/deadline.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'
import { writeFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'

async function askFor(gate: AdminGate, path: string): Promise<unknown> {
  return JSON.parse((await ask(gate.admin, path)).body)
}

async function connectTo(gate: AdminGate, target: string): Promise<{ client: RawClient; status: number }> {
  const client = await RawClient.connect(gate.port)
  onTestFinished(() => client.destroy())
  await client.send(connectRequest(target))
  return { client, status: (await client.reply()).status }
}

/** The value of a series, as a scrape has it. */
async function metric(gate: AdminGate, series: string): Promise<number> {
  const { body } = await ask(gate.admin, '/metrics')
  const line = body.split('\n').find((candidate) => candidate.startsWith(`${series} `))
  return Number(line?.split(' ').at(-1))
}

describe.each([1, 2])('workers: %i', (workers) => {
  test('says what happened and what is open', async () => {
    const gate = await serveWithAdmin({ workers })
    const target = `cgr.dev:${gate.origin}`
    for (let i = 0; i < 4; i += 1) {
      const { client, status } = await connectTo(gate, target)
      expect(status).toBe(200)
      await client.send('hello')
      await client.bytes(5)
    }
    expect((await connectTo(gate, 'cgr.dv:443')).status).toBe(403)
    await until(() => gate.records().length >= 6, 'the records')

    expect(await askFor(gate, '/api/tunnels?limit=3')).toMatchObject({
      total: 4,
      tunnels: Array.from({ length: 3 }, () => ({
        host: 'cgr.dev',
        port: gate.origin,
        address: '127.0.0.1',
        rule: target,
        bytesUp: 5,
        bytesDown: 5,
        revoked: false,
      })),
    })
    expect(await askFor(gate, '/api/denials')).toMatchObject({
      denials: [
        { event: { action: 'tunnel-denied', reason: 'host_not_allowed' }, sallyport: { hint: target } },
      ],
    })
    const minute = { at: expect.any(String), allowed: 4, denied: 1, failed: 0 }
    expect(await askFor(gate, '/api/status')).toMatchObject({
      ready: true,
      workers,
      totals: {
        allowed: 4,
        refused: 1,
        outcomes: { allowed: 4, host_not_allowed: 1 },
        bytesUp: 20,
        bytesDown: 20,
      },
      tunnels: 4,
      minutes: expect.arrayContaining([minute]),
    })
    expect(await askFor(gate, '/api/policy')).toMatchObject({
      mode: 'enforce',
      sni: 'off',
      allow: [{ name: target, ruleset: 'policy.allow', owner: 'platform', expired: false }],
    })
    expect(await askFor(gate, '/api/dns')).toMatchObject({ static: { 'cgr.dev': ['127.0.0.1'] } })
    expect(await askFor(gate, `/api/explain?target=cgr.dv`)).toMatchObject({
      decision: 'deny',
      code: 'host_not_allowed',
      hint: target,
    })
    expect(await metric(gate, 'sallyport_connects_total{outcome="allowed"}')).toBe(4)
    expect(await metric(gate, 'sallyport_tunnels_active')).toBe(4)
    expect(await metric(gate, 'sallyport_tunnel_bytes_total{direction="up"}')).toBe(20)
    expect(await metric(gate, 'sallyport_dns_lookups_total{source="static"}')).toBe(4)
    expect(await metric(gate, 'sallyport_dial_seconds_count{result="connected"}')).toBe(4)
    expect(await metric(gate, 'sallyport_audit_records_total{action="tunnel-opened"}')).toBe(4)
    expect(await metric(gate, 'sallyport_workers')).toBe(workers)
  })

  test('streams records as they are written', async () => {
    const gate = await serveWithAdmin({ workers })
    const socket = connect({ port: gate.admin, host: '127.0.0.1' })
    onTestFinished(() => void socket.destroy())
    let received = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      received += chunk
    })
    socket.write('GET /api/events?actions=tunnel-denied HTTP/1.1\r\nHost: localhost\r\n\r\n')
    await until(() => received.includes('retry: '), 'the stream')
    expect((await connectTo(gate, `cgr.dev:${gate.origin}`)).status).toBe(200)
    expect((await connectTo(gate, 'cgr.dv:443')).status).toBe(403)
    await until(() => received.includes('"host_not_allowed"'), 'the event')
    expect(received).toMatch(/\nid: [23]\nevent: tunnel-denied\ndata: \{"log"/)
    expect(received).not.toContain('tunnel-opened')
  })

  test('is not ready once it drains, and says so', async () => {
    const gate = await serveWithAdmin({ workers, limits: { drainTimeout: '20s' } })
    const { client } = await connectTo(gate, `cgr.dev:${gate.origin}`)
    expect((await ask(gate.admin, '/readyz')).status).toBe(200)
    gate.child.kill('SIGTERM')
    await until(() => gate.records().at(-1)?.event.action === 'gate-draining', 'the drain')
    const { status, body } = await ask(gate.admin, '/readyz')
    expect([status, body]).toEqual([503, expect.stringContaining('draining')])
    expect((await ask(gate.admin, '/healthz')).status).toBe(200)
    client.destroy()
    expect(await gate.end()).toBe(0)
  })
})

test('figures outlive a worker that crashes', async () => {
  const gate = await serveWithAdmin({ workers: 2 })
  for (let i = 0; i < 6; i += 1) expect((await connectTo(gate, 'cgr.dv:443')).status).toBe(403)
  const series = 'sallyport_connects_total{outcome="host_not_allowed"}'
  expect(await metric(gate, series)).toBe(6)
  // There from the start, or the first loss of all would be no increase.
  const losses = 'sallyport_audit_records_total{action="worker-lost"}'
  expect(await metric(gate, losses)).toBe(0)
  const { pid } = gate.child
  const [victim] = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')
  process.kill(Number(victim), 'SIGKILL')
  await until(() => gate.records().some(({ event }) => event.action === 'worker-replaced'), 'the replacement')
  expect(await metric(gate, series)).toBe(6)
  expect(await metric(gate, losses)).toBe(1)
})

test('rules of clients count: the first that ends, and a mode of its own', async () => {
  const gate = await serveWithAdmin({
    policy: { presets: [], allow: [{ host: 'cgr.dev', expires: '2999-12-31' }] },
    clients: {
      rules: [
        { name: 'same', from: ['10.1.0.0/16'] },
        {
          name: 'ci',
          from: ['10.2.0.0/16'],
          policy: { mode: 'report', allow: [{ host: 'ci.example', expires: '2999-01-01' }] },
        },
      ],
    },
  })
  const { body } = await ask(gate.admin, '/metrics')
  expect(body.match(/^sallyport_policy_info.*/gm)).toEqual([
    expect.stringMatching(/^sallyport_policy_info\{hash="sha256:\w+",mode="enforce"\} 1$/),
    expect.stringMatching(/^sallyport_policy_info\{hash="sha256:\w+",mode="report",client="ci"\} 1$/),
  ])
  const expiry = await metric(gate, 'sallyport_policy_next_expiry_timestamp_seconds')
  expect(expiry).toBe(Date.parse('2999-01-02T00:00:00Z') / 1000)
  expect(gate.stderr()).toContain('clients.ci: its mode is report')
})

test('a reload that fails turns a gauge and a detail of readyz, and nothing else', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-admin-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const candidate = join(folder, 'candidate.yaml')
  writeFileSync(candidate, 'policy: { presets: [chainguard-2024-05-14] }\n')
  const gate = await serveWithAdmin({ policy: { candidate } }, { token: TOKEN })
  rmSync(candidate)
  const reload = await ask(gate.admin, '/api/reload', { method: 'POST', headers: withToken })
  expect(reload.status).toBe(422)
  expect(JSON.parse(reload.body)).toMatchObject({ ok: false, issues: [expect.stringContaining('candidate')] })
  const ready = await ask(gate.admin, '/readyz')
  expect([ready.status, ready.body]).toEqual([200, expect.stringContaining('the last reload failed')])
  // Who has not shown the token does not learn what is wrong.
  expect(ready.body).not.toContain(folder)
  const metrics = await ask(gate.admin, '/metrics', { headers: withToken })
  expect(metrics.body).toContain('\nsallyport_config_reload_success 0\n')
  writeFileSync(candidate, 'policy: { presets: [chainguard-2024-05-14] }\n')
  const again = await ask(gate.admin, '/api/reload', { method: 'POST', headers: withToken })
  expect(again.status).toBe(200)
  const after = await ask(gate.admin, '/metrics', { headers: withToken })
  expect(after.body).toContain('\nsallyport_config_reload_success 1\n')
})

test('healthcheck and explain --live find the gate by its configuration', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-admin-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const gate = await serveWithAdmin({}, { token: TOKEN })
  const file = join(folder, 'sallyport.yaml')
  const write = (port: number): void =>
    writeFileSync(file, JSON.stringify({ admin: { listen: `127.0.0.1:${port}`, token: TOKEN } }))
  write(gate.admin)
  expect(await run(['healthcheck', '--config', file])).toEqual({ code: 0, stdout: '', stderr: '' })
  expect((await run(['healthcheck', '--live', '--config', file])).code).toBe(0)

  const live = await run(['explain', '--live', '--config', file, `cgr.dev:${gate.origin}`])
  expect([live.code, live.stderr]).toEqual([0, ''])
  expect(live.stdout).toContain(`the gate at 127.0.0.1:${gate.admin}, enforce`)
  expect(live.stdout).toContain(`allowed by cgr.dev:${gate.origin}`)
  const denied = await run(['explain', '--live', '--json', '--config', file, 'cgr.dv'])
  expect(denied.code).toBe(1)
  expect(JSON.parse(denied.stdout)).toMatchObject({ decision: 'deny', code: 'host_not_allowed' })

  gate.child.kill('SIGKILL')
  await gate.end()
  const dead = await run(['healthcheck', '--config', file])
  expect([dead.code, dead.stderr]).toEqual([1, expect.stringMatching(/no gate answers at .*ECONNREFUSED/)])
})

test('the description has every status that a path answers with, and no other', async () => {
  const operations = z.record(
    z.string(),
    z.record(z.string(), z.looseObject({ responses: z.looseObject({}) })),
  )
  const { paths } = z
    .looseObject({ paths: operations })
    .parse(parse(readFileSync(join(ROOT, 'docs/openapi.yaml'), 'utf8')))
  const described = Object.entries(paths).flatMap(([path, item]) =>
    Object.values(item).flatMap(({ responses }) =>
      Object.keys(responses).map((status) => `${path} ${status}`),
    ),
  )
  const had = new Set<string>()
  const hear = async (gate: AdminGate, path: string, options: AskOptions = {}): Promise<void> => {
    const { status } = await ask(gate.admin, path, options)
    had.add(`${path.split('?')[0]} ${status}`)
  }
  const open = await serveWithAdmin({ limits: { drainTimeout: '20s' } })
  const gate = await serveWithAdmin({}, { token: TOKEN })
  for (const [path, { method }] of ROUTES) {
    await hear(gate, path, { method })
    // The head of a stream is all of it that ends.
    const wanted = path === '/api/events' ? 'HEAD' : method
    const query = path === '/api/explain' ? '?target=cgr.dv' : ''
    await hear(gate, `${path}${query}`, { method: wanted, headers: withToken })
  }
  for (const path of ['/api/denials?limit=0', '/api/tunnels?limit=0', '/api/explain', '/api/events?actions='])
    await hear(open, path)
  await hear(open, '/api/reload', { method: 'POST' })
  writeFileSync(gate.file, 'no: such key')
  await hear(gate, '/api/reload', { method: 'POST', headers: withToken })
  for (let i = 0; i < 32; i += 1) await holdStream(open.admin)
  await hear(open, '/api/events')
  await connectTo(open, `cgr.dev:${open.origin}`)
  open.child.kill('SIGTERM')
  await until(() => open.records().at(-1)?.event.action === 'gate-draining', 'the drain')
  await hear(open, '/readyz')
  expect([...had].toSorted()).toEqual(described.toSorted())
})

test(
  'healthcheck finds the gate also when the file it runs with has been edited badly',
  { timeout: 60_000 },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'sallyport-admin-'))
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
    const gate = await serveWithAdmin({}, { token: TOKEN })
    const file = join(folder, 'sallyport.yaml')
    const admin = `admin: { listen: '127.0.0.1:${gate.admin}', token: ${TOKEN} }\n`
    for (const [what, text] of [
      ['an unknown key', `${admin}polcy: {}\n`],
      ['no YAML any more', `${admin}policy: { allow: [\n`],
      ['a wildcard without quotes', `${admin}policy: { allow: [{ host: *.example.com }] }\n`],
      ['a second document', `${admin}---\nx: 1\n`],
    ] as const) {
      writeFileSync(file, text)
      const { code, stderr } = await run(['healthcheck', '--live', '--config', file])
      expect([what, code, stderr]).toEqual([what, 0, expect.stringContaining('sallyport.yaml')])
    }
    expect((await run(['healthcheck', '--config', file])).code).toBe(0)
    // The token is not asked for where it is not needed.
    writeFileSync(file, `admin: { listen: '127.0.0.1:${gate.admin}', tokenFile: ${join(folder, 'none')} }\n`)
    expect((await run(['healthcheck', '--config', file])).code).toBe(1)
    expect((await run(['healthcheck', '--live', '--config', file])).code).toBe(0)
  },
)

test('the description has every path, and the answers have the fields that it promises', async () => {
  const described = z
    .object({ paths: z.record(z.string(), z.record(z.string(), z.unknown())) })
    .loose()
    .parse(parse(readFileSync(join(ROOT, 'docs/openapi.yaml'), 'utf8')))
  const paths = Object.entries(described.paths).map(([path, item]) => [path, Object.keys(item)])
  expect(paths).toEqual([...ROUTES].map(([path, { method }]) => [path, [method.toLowerCase()]]))

  const schemas = z
    .object({
      components: z.object({
        schemas: z.record(
          z.string(),
          z.looseObject({ required: z.array(z.string()), properties: z.record(z.string(), z.unknown()) }),
        ),
      }),
    })
    .parse(described).components.schemas
  const gate = await serveWithAdmin({}, { token: TOKEN })
  const answers = {
    Readiness: '/readyz',
    Status: '/api/status',
    Policy: '/api/policy',
    Tunnels: '/api/tunnels',
    Dns: '/api/dns',
    Explanation: '/api/explain?target=cgr.dv',
    Reload: '/api/reload',
  }
  for (const [name, path] of Object.entries(answers)) {
    const { body } = await ask(gate.admin, path, {
      method: ROUTES.get(path)?.method ?? 'GET',
      headers: withToken,
    })
    const fields = Object.keys(z.record(z.string(), z.unknown()).parse(JSON.parse(body)))
    expect(fields).toEqual(expect.arrayContaining(schemas[name]?.required ?? ['no such schema']))
    expect(Object.keys(schemas[name]?.properties ?? {})).toEqual(expect.arrayContaining(fields))
  }
})
