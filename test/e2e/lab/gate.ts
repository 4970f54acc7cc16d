import { existsSync, writeFileSync } from 'node:fs'
import { stringify } from 'yaml'
import { freePort } from './ports.ts'
import { tidyEnv } from './programs.ts'
import { parseRecords } from './records.ts'
import type { AuditRecord } from './records.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'
import type { Service } from './service.ts'
import { eventually } from './wait.ts'
import { withEveryDenial } from '../../support/every-denial.ts'

export const root = new URL('../../../', import.meta.url).pathname

const pinned = `${root}node_modules/.bin/node`
/** The Node of the project, also where the tests themselves run on another. */
export const node = existsSync(pinned) ? pinned : process.execPath
export const sallyport = `${root}bin/sallyport.js`

export interface Gate extends Service {
  port: number
  /** As HTTPS_PROXY takes it. */
  url: string
  records: () => AuditRecord[]
  /** The first record, of those there are and those to come, that is so. */
  waitForRecord: (
    what: string,
    test: (record: AuditRecord) => boolean,
    deadlineMs?: number,
  ) => Promise<AuditRecord>
}

/** SALLYPORT_E2E_WIRE runs the same tests over the wire of that name. */
const wire = process.env['SALLYPORT_E2E_WIRE'] ?? 'auto'

/** What every gate of the tests shares: loopback may be dialled, and DNS is the lab's. */
export const gateConfig = (
  port: number,
  nameserver: string,
  extra: Record<string, unknown> = {},
): Record<string, unknown> => ({
  listen: `127.0.0.1:${port}`,
  admin: { listen: null },
  dns: { servers: [nameserver] },
  addresses: { allow: ['127.0.0.0/8'] },
  wire,
  ...extra,
})

let configs = 0

export const writeConfig = (scope: Scope, config: unknown): string => {
  const file = scope.path(`sallyport-${(configs += 1)}.yaml`)
  writeFileSync(file, typeof config === 'string' ? config : stringify(config))
  return file
}

/** The real gate as its users start it, its audit trail read from standard output with a record for every denial. */
export const startGate = async (
  scope: Scope,
  nameserver: string,
  extra: Record<string, unknown> = {},
): Promise<Gate> => {
  const port = await freePort()
  const file = writeConfig(scope, gateConfig(port, nameserver, withEveryDenial(extra)))
  const isStarted = (record: AuditRecord): boolean => record.event.action === 'gate-started'
  const service = await startService(scope, {
    name: 'sallyport',
    command: node,
    args: [sallyport, 'serve', '--config', file],
    cwd: root,
    env: tidyEnv(scope.folder),
    ready: ({ stdout }) => parseRecords(stdout()).some(isStarted),
  })
  const records = (): AuditRecord[] => parseRecords(service.stdout())
  const waitForRecord: Gate['waitForRecord'] = (what, test, deadlineMs = 10_000) =>
    eventually(
      `record: ${what}`,
      deadlineMs,
      () => records().find(test),
      () => `${service.stdout()}\n${service.stderr()}`,
    )
  return { ...service, port, url: `http://127.0.0.1:${port}`, records, waitForRecord }
}
