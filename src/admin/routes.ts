/** What can be asked, and who answers. docs/openapi.yaml describes the same. */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { AUDIT_ACTIONS } from '../audit/actions.ts'
import { describePolicy } from './describe-policy.ts'
import { health, readiness } from './health.ts'
import { json, problem, type Reply } from './reply.ts'
import type { AdminServices } from './services.ts'
import type { DnsEntry } from './view.ts'
import { describeStatus, factsForMetrics } from './status.ts'

export interface Route {
  readonly method: 'GET' | 'POST'
  /**
   * Who may ask. `anybody`: probes, and files without a word of the gate's. `reader`: who has the token, where one is
   * set. `operator`: who has the token, and nobody where none is set.
   */
  readonly for: 'anybody' | 'reader' | 'operator'
  readonly answer: (services: AdminServices, query: URLSearchParams) => Reply | Promise<Reply> | 'events'
}

const MAX_LISTED = 1000
const LISTED = 200
const MAX_TARGET = 300
const KNOWN_ACTIONS: ReadonlySet<string> = new Set(AUDIT_ACTIONS)

export const ROUTES: ReadonlyMap<string, Route> = new Map<string, Route>([
  ['/', file('page/index.html', 'text/html; charset=utf-8')],
  ['/dashboard.css', file('page/dashboard.css', 'text/css; charset=utf-8')],
  ['/dashboard.js', file('page/dashboard.js', 'text/javascript; charset=utf-8')],
  ['/openapi.yaml', file('../../docs/openapi.yaml', 'application/yaml; charset=utf-8')],
  ['/healthz', { method: 'GET', for: 'anybody', answer: health }],
  ['/readyz', { method: 'GET', for: 'anybody', answer: readiness }],
  ['/metrics', { method: 'GET', for: 'reader', answer: metrics }],
  ['/api/status', { method: 'GET', for: 'reader', answer: status }],
  ['/api/policy', { method: 'GET', for: 'reader', answer: policy }],
  ['/api/denials', { method: 'GET', for: 'reader', answer: denials }],
  ['/api/tunnels', { method: 'GET', for: 'reader', answer: tunnels }],
  ['/api/dns', { method: 'GET', for: 'reader', answer: dns }],
  ['/api/explain', { method: 'GET', for: 'reader', answer: explain }],
  ['/api/events', { method: 'GET', for: 'reader', answer: events }],
  ['/api/reload', { method: 'POST', for: 'operator', answer: reload }],
])

async function metrics(services: AdminServices): Promise<Reply> {
  // Loaded at the first scrape: who has no Prometheus does not pay for it.
  const { formatMetrics, METRICS_TYPE } = await import('../metrics/exposition.ts')
  const body = await formatMetrics(await services.view.figures(), factsForMetrics(services))
  return { status: 200, type: METRICS_TYPE, body }
}

async function status(services: AdminServices): Promise<Reply> {
  return json(200, describeStatus(services, await services.view.figures()))
}

function policy({ config, configFile, clock }: AdminServices): Reply {
  return json(200, describePolicy(config(), configFile, clock.wallMs()))
}

function denials({ trail }: AdminServices, query: URLSearchParams): Reply {
  const limit = readLimit(query)
  if (typeof limit !== 'number') return limit
  // The lines are JSON already.
  const lines = trail.denials(limit).map((line) => line.trimEnd())
  return { ...json(200, {}), body: `{"denials":[${lines.join(',')}]}\n` }
}

async function tunnels({ view }: AdminServices, query: URLSearchParams): Promise<Reply> {
  const limit = readLimit(query)
  return typeof limit === 'number' ? json(200, await view.tunnels(limit)) : limit
}

async function dns({ view, config }: AdminServices): Promise<Reply> {
  const { servers, hosts } = config().dns
  return json(200, { servers, static: hosts, answers: (await view.dns()).map(inSeconds) })
}

function inSeconds({ name, type, result, addresses, ageMs, leftMs, prefetched, worker }: DnsEntry) {
  const [ageSeconds, leftSeconds] = [Math.round(ageMs) / 1000, Math.round(leftMs) / 1000]
  return { name, type, result, addresses, ageSeconds, leftSeconds, prefetched, worker }
}

function explain(services: AdminServices, query: URLSearchParams): Reply {
  const target = query.get('target')?.trim() ?? ''
  const client = query.get('client')?.trim()
  if (target === '' || target.length > MAX_TARGET || (client?.length ?? 0) > MAX_TARGET) {
    return problem(400, 'bad_query', 'ask for ?target=host or ?target=host:port, at most 300 characters')
  }
  const explained = services.explain(target, client === '' ? undefined : client)
  return 'error' in explained ? json(400, explained) : json(200, explained)
}

function events(_services: AdminServices, query: URLSearchParams): Reply | 'events' {
  const unknown = query
    .get('actions')
    ?.split(',')
    .find((action) => !KNOWN_ACTIONS.has(action))
  if (unknown === undefined) return 'events'
  return problem(400, 'bad_query', `actions is some of ${AUDIT_ACTIONS.join(',')}; without it come all`)
}

async function reload({ reload }: AdminServices): Promise<Reply> {
  const report = await reload()
  return json(report.ok ? 200 : 422, report)
}

function readLimit(query: URLSearchParams): number | Reply {
  const text = query.get('limit')
  if (text === null) return LISTED
  const limit = /^[1-9][0-9]{0,3}$/.test(text) ? Number(text) : 0
  if (limit > 0 && limit <= MAX_LISTED) return limit
  return problem(400, 'bad_query', `limit is a whole number from 1 to ${MAX_LISTED}`)
}

/** A file that ships with the program; read once, when it is first asked for. */
function file(path: string, type: string): Route {
  let body: Buffer | undefined
  return {
    method: 'GET',
    for: 'anybody',
    answer() {
      try {
        body ??= readFileSync(fileURLToPath(new URL(path, import.meta.url)))
      } catch {
        return problem(404, 'not_readable', 'this file of the program cannot be read here')
      }
      return { status: 200, type, body }
    },
  }
}
