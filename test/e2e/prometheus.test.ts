/** A real Prometheus scrapes a real gate; the alerts and the Grafana dashboard ask only for what it gets there. */
import { execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { ROOT } from '../cli/run.ts'
import { ask, serveWithAdmin, TOKEN, withToken, type AdminGate } from '../support/admin.ts'
import { freePort } from '../support/free-port.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'

const run = promisify(execFile)
const ALERTS = join(ROOT, 'deploy/prometheus/alerts.yaml')
const have = ['/usr/bin/prometheus', '/usr/bin/promtool'].every((path) => existsSync(path))
const START_MS = 60_000

const answer = z.object({
  status: z.literal('success'),
  data: z.object({
    result: z.array(
      z.object({ metric: z.record(z.string(), z.string()), value: z.tuple([z.number(), z.string()]) }),
    ),
  }),
})

/** A Prometheus that scrapes the gate twice a second, with our alerts. Answers queries. */
async function watch(
  gate: AdminGate,
): Promise<(query: string) => Promise<readonly [Record<string, string>, number][]>> {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-prometheus-'))
  writeFileSync(join(folder, 'token'), TOKEN)
  const config = {
    scrape_configs: [
      {
        job_name: 'sallyport',
        scrape_interval: '500ms',
        scrape_timeout: '500ms',
        authorization: { credentials_file: join(folder, 'token') },
        static_configs: [{ targets: [`127.0.0.1:${gate.admin}`] }],
      },
    ],
    rule_files: [ALERTS],
  }
  writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config))
  const port = await freePort()
  const child = spawn(
    'prometheus',
    [
      `--config.file=${folder}/prometheus.yml`,
      `--storage.tsdb.path=${folder}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
    ],
    { stdio: 'ignore' },
  )
  onTestFinished(async () => {
    const ended = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGKILL')
    await ended
    rmSync(folder, { recursive: true, force: true })
  })
  return async (query) => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/query?query=${encodeURIComponent(query)}`)
    const { data } = answer.parse(await response.json())
    return data.result.map(({ metric, value }) => [metric, Number(value[1])])
  }
}

/** Asks again and again until the first value is this one. */
async function settle(query: () => Promise<readonly [unknown, number][]>, wanted: number): Promise<void> {
  const end = performance.now() + START_MS
  for (;;) {
    const result = await query().catch(() => [])
    if (result[0]?.[1] === wanted) return
    if (performance.now() > end) throw new Error(`not ${wanted}: ${JSON.stringify(result)}`)
    await new Promise((resolve) => {
      setTimeout(resolve, 100)
    })
  }
}

describe.runIf(have)(
  `Prometheus${have ? '' : ' (skipped: prometheus and promtool are not installed)'}`,
  () => {
    test.each([1, 2])('scrapes a gate, workers: %i', async (workers) => {
      const gate = await serveWithAdmin({ workers }, { token: TOKEN })
      const query = await watch(gate)
      await settle(() => query('up{job="sallyport"}'), 1)
      const client = await RawClient.connect(gate.port)
      onTestFinished(() => client.destroy())
      await client.send(connectRequest(`cgr.dev:${gate.origin}`))
      await client.reply()
      await client.send('hello')
      await client.bytes(5)
      const denied = await RawClient.connect(gate.port)
      await denied.send(connectRequest('cgr.dv:443'))
      await denied.reply()
      await settle(() => query('sallyport_connects_total{outcome="host_not_allowed"}'), 1)
      await settle(() => query('sallyport_tunnel_bytes_total{direction="down"}'), 5)
      await settle(() => query('sallyport_tunnels_active'), 1)
      await settle(() => query('sallyport_workers'), workers)
      client.finish()
      await settle(() => query('sallyport_tunnel_duration_seconds_count'), 1)
      await settle(() => query('sallyport_tunnels_active'), 0)
      const [[info] = []] = await query('sallyport_policy_info')
      expect(info).toMatchObject({ mode: 'enforce', hash: expect.stringMatching(/^sha256:[0-9a-f]{64}$/) })
    })

    test('promtool finds nothing to say of the metrics', async () => {
      const gate = await serveWithAdmin()
      const { body } = await ask(gate.admin, '/metrics')
      const child = spawn('promtool', ['check', 'metrics'], { stdio: ['pipe', 'pipe', 'pipe'] })
      let said = ''
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (chunk: string) => {
          said += chunk
        })
      child.stdin.end(body)
      const code = await new Promise((resolve) => child.once('close', resolve))
      expect([code, said]).toEqual([0, ''])
    })

    test('the alerts hold in their own tests', async () => {
      const options = { cwd: join(ROOT, 'deploy/prometheus') }
      await run('promtool', ['check', 'config', 'prometheus.yaml'], options)
      const { stdout } = await run('promtool', ['test', 'rules', 'alerts.test.yaml'], options)
      expect(stdout).toContain('SUCCESS')
    })
  },
)

describe('what deploy/ asks Prometheus for', () => {
  const rules = z
    .object({
      groups: z.array(
        z.object({
          rules: z.array(
            z
              .object({
                alert: z.string(),
                expr: z.string(),
                annotations: z.object({ runbook: z.string() }).loose(),
              })
              .loose(),
          ),
        }),
      ),
    })
    .parse(parse(readFileSync(ALERTS, 'utf8')))
    .groups.flatMap((group) => group.rules)

  test('is there, bounded, and without a word of a client', async () => {
    const gate = await serveWithAdmin({}, { token: TOKEN })
    const before = (await ask(gate.admin, '/metrics', { headers: withToken })).body
    for (let i = 0; i < 30; i += 1) {
      const client = await RawClient.connect(gate.port)
      await client.send(connectRequest(`host-${i}.example.org:443`))
      await client.reply()
      client.destroy()
    }
    const after = (await ask(gate.admin, '/metrics', { headers: withToken })).body
    expect(after).not.toContain('example.org')
    const seriesOf = (body: string): readonly string[] =>
      body.split('\n').flatMap((line) => (/^[a-z]/.test(line) ? [line.replace(/ \S+$/, '')] : []))
    expect(seriesOf(after)).toEqual(seriesOf(before))

    const dashboard = readFileSync(join(ROOT, 'deploy/grafana/dashboard.json'), 'utf8')
    expect(
      z
        .object({ panels: z.array(z.unknown()) })
        .loose()
        .parse(JSON.parse(dashboard)).panels.length,
    ).toBeGreaterThan(10)
    const asked = [dashboard, ...rules.map(({ expr }) => expr)]
      .join(' ')
      .match(/\b(?:sallyport|process|nodejs)_[a-z_]+/g)
    const known = new Set([...seriesOf(after).map((series) => series.split('{')[0]), EXPIRY])
    expect([...new Set(asked)].filter((name) => !known.has(name))).toEqual([])
  })

  test('has every series with which the alerts are tested, from the start', async () => {
    const gate = await serveWithAdmin()
    const { body } = await ask(gate.admin, '/metrics')
    const tested = readFileSync(join(ROOT, 'deploy/prometheus/alerts.test.yaml'), 'utf8')
      .match(/\bsallyport_\w+\{[^}]*\}/g)
      ?.map((series) =>
        series.replace(/(?:job|instance|client|hash|mode)="\w+"(?:, )?/g, '').replace(/,? *\}/, '}'),
      )
    const known = body.split('\n').map((line) => line.replace(/(?:hash|mode)="[\w:]+",?/g, ''))
    const missing = (series: string): boolean =>
      !known.some((line) => line.startsWith(series.replace('{}', '')))
    expect(tested?.length).toBeGreaterThan(30)
    expect(tested?.filter((series) => missing(series) && series !== `${EXPIRY}{}`)).toEqual([])
  })

  test('every alert has its entry in docs/operating.md', () => {
    const document = readFileSync(join(ROOT, 'docs/operating.md'), 'utf8')
    for (const { alert, annotations } of rules) {
      expect(document).toContain(`\n### ${alert}\n`)
      expect(annotations.runbook).toBe(`docs/operating.md#${alert.toLowerCase()}`)
    }
  })
})

/** Only there where a rule has an end. */
const EXPIRY = 'sallyport_policy_next_expiry_timestamp_seconds'
