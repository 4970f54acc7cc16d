/** The queries of docs/log-stacks.md, run as they stand there on records of a real gate's shape. */
import { spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { countOctets, formatSyslog } from '../../src/audit/syslog-message.ts'
import { foldedRecord } from '../../src/audit/folded-record.ts'
import { refusal } from '../../src/policy/refusal.ts'
import { attemptOf, deniedLine, openedLine } from '../support/audit-records.ts'
import { until } from '../support/deadline.ts'
import { freePort } from '../support/free-port.ts'
import { fieldsText } from '../support/record-fields.ts'

const PAGE = readFileSync(new URL('../../docs/log-stacks.md', import.meta.url), 'utf8')

/** The code block behind `<!-- tested: NAME -->`. */
function query(name: string): string {
  const block = new RegExp(`<!-- tested: ${name} -->\\n+\`\`\`[a-z]*\\n(.*?)\`\`\``, 's').exec(PAGE)?.[1]
  if (block === undefined) throw new Error(`no query for ${name}`)
  return block
}

const works = (command: string, ...args: readonly string[]): boolean => spawnSync(command, args).status === 0
const because = (there: boolean, what: string): string => (there ? '' : ` (skipped: ${what})`)
const jq = works('jq', '--version')
const duckdb = works('python3', '-c', 'import duckdb')
const rsyslog = existsSync('/usr/sbin/rsyslogd') && works('/usr/sbin/rsyslogd', '-v')

const written = foldedRecord({
  scope: 'host',
  attempt: attemptOf({ host: 'flood.example', client: '10.0.0.9' }),
  refusal: refusal('host_not_allowed'),
  count: 500,
  differing: 0,
  firstMs: 0,
  lastMs: 1,
})
const DENIED = deniedLine({ host: 'cgr.dv', client: '10.0.0.1', hint: { kind: 'typo', value: 'cgr.dev' } })
const LOG = [
  openedLine({ host: 'cgr.dev' }),
  DENIED,
  deniedLine({ host: 'cgr.dv', client: '10.0.0.2', hint: { kind: 'typo', value: 'cgr.dev' } }),
  DENIED.replace(/"source":.*(?="message")/, `${fieldsText(written).slice(1)},`),
].join('')

describe('queries of the documentation', () => {
  let folder = ''
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'sallyport-stacks-'))
    writeFileSync(join(folder, 'audit.ndjson'), LOG)
  })
  afterEach(() => {
    rmSync(folder, { recursive: true })
  })

  test.skipIf(!jq)(`jq${because(jq, 'no jq')}`, () => {
    const { stdout, stderr } = spawnSync('sh', ['-c', query('jq')], { cwd: folder, encoding: 'utf8' })
    expect(stderr).toBe('')
    expect(stdout.trim().split('\n')).toEqual([
      '500 flood.example:443 host_not_allowed 2026-11-23T12:00:00.000Z',
      '2 cgr.dv:443 host_not_allowed 2026-11-23T12:00:00.000Z',
    ])
  })

  test.skipIf(!duckdb)(`DuckDB${because(duckdb, 'no duckdb module for python3')}`, () => {
    const script = 'import duckdb, sys; print([r[:5] for r in duckdb.sql(sys.stdin.read()).fetchall()])'
    const { stdout, stderr } = spawnSync('python3', ['-c', script], {
      cwd: folder,
      input: query('duckdb').replace(';', ''),
      encoding: 'utf8',
    })
    expect(stderr).toBe('')
    expect(stdout.trim()).toBe(
      "[('flood.example', 443, 'host_not_allowed', 500, 1), ('cgr.dv', 443, 'host_not_allowed', 2, 2)]",
    )
  })

  test.skipIf(!rsyslog)(`rsyslog${because(rsyslog, 'no rsyslogd')}`, async () => {
    const config = query('rsyslog').replaceAll('/var/log/sallyport', folder)
    writeFileSync(join(folder, 'rsyslog.conf'), `global(workDirectory="${folder}")\n${config}`)
    const daemon = spawn(
      '/usr/sbin/rsyslogd',
      ['-n', '-f', join(folder, 'rsyslog.conf'), '-i', join(folder, 'pid')],
      {
        stdio: 'ignore',
      },
    )
    const ended = new Promise((resolve) => daemon.once('close', resolve))
    const denials = join(folder, 'denials.log')
    const lines = (): string[] =>
      existsSync(denials) ? readFileSync(denials, 'utf8').trim().split('\n') : []
    try {
      await until(() => lines().length === 3, `three lines of rsyslog\n${lines().join('\n')}`)
    } finally {
      daemon.kill()
      await ended
    }
    expect(lines()).toEqual([
      'host_not_allowed cgr.dv:443 10.0.0.1 cgr.dev',
      'host_not_allowed cgr.dv:443 10.0.0.2 cgr.dev',
      'host_not_allowed flood.example:443 10.0.0.9',
    ])
  })

  test.skipIf(!rsyslog)(`rsyslog over TCP${because(rsyslog, 'no rsyslogd')}`, async () => {
    const port = await freePort()
    const config = query('rsyslog-tcp')
      .replaceAll('/var/log/sallyport', folder)
      .replace('port="6514"', `address="127.0.0.1" port="${port}"`)
    rmSync(join(folder, 'audit.ndjson'))
    writeFileSync(join(folder, 'rsyslog.conf'), `global(workDirectory="${folder}")\n${config}`)
    const options = ['-n', '-f', join(folder, 'rsyslog.conf'), '-i', join(folder, 'pid')]
    const daemon = spawn('/usr/sbin/rsyslogd', options, { stdio: 'ignore' })
    const ended = new Promise((resolve) => daemon.once('close', resolve))
    const received = (name: string): string =>
      existsSync(join(folder, name)) ? readFileSync(join(folder, name), 'utf8') : ''
    const lines = LOG.trimEnd().split('\n')
    let sent = false
    const send = (): void => {
      const socket = connect(port, '127.0.0.1', () => {
        sent = true
        for (const line of lines)
          socket.write(countOctets(formatSyslog(line, { facility: 16, hostname: 'gate-1', pid: 1 })))
        socket.end()
        // Until the daemon listens, connecting fails.
      }).once('error', () => setTimeout(send, 20))
    }
    try {
      send()
      await until(() => sent, 'rsyslogd to listen')
      await until(() => received('audit.ndjson').length >= LOG.length, 'every record')
      await until(() => received('denials.ndjson').split('\n').length === lines.length, 'the denials')
    } finally {
      daemon.kill()
      await ended
    }
    expect(received('audit.ndjson')).toBe(LOG)
    expect(received('denials.ndjson')).toBe(`${lines.slice(1).join('\n')}\n`)
  })
})
