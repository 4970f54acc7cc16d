import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { firstLineFor } from './lab/connect.ts'
import { gateConfig, node, root, sallyport, writeConfig } from './lab/gate.ts'
import { needing } from './lab/needs.ts'
import { accepts, freePort } from './lab/ports.ts'
import { tidyEnv } from './lab/programs.ts'
import { parseRecords } from './lab/records.ts'
import { Scope } from './lab/scope.ts'
import { startService } from './lab/service.ts'
import type { Service } from './lab/service.ts'
import { eventually, within } from './lab/wait.ts'

const lab = await needing({
  linux: true,
  programs: ['npm', 'script'],
  free: [
    [3128, '127.0.0.1'],
    [9128, '127.0.0.1'],
  ],
})

const script = await needing({ linux: true, programs: ['script'] })
const terminal = ['--quiet', '--return', '--flush', '--command']

describe.skipIf(lab.missing)(`npm start with the default configuration${lab.because}`, () => {
  const scope = new Scope()
  let npm: Service
  const recorded = (): string => readFileSync(scope.path('stdout'), 'utf8')

  beforeAll(async () => {
    // A terminal for standard input and standard error; standard output goes to a file, as to a log collector.
    const command = `npm start --silent > ${scope.path('stdout')}`
    npm = await startService(scope, {
      name: 'npm start',
      command: 'script',
      args: [...terminal, command, '/dev/null'],
      cwd: root,
      env: tidyEnv(scope.folder, { TERM: 'xterm', npm_config_update_notifier: 'false' }),
      ready: () => accepts(3128),
      readyMs: 30_000,
    })
  })
  afterAll(() => scope.close())

  test('a banner on the terminal says where it listens', async () => {
    await eventually('banner', 5_000, () => npm.stdout().includes('127.0.0.1:3128'), npm.stdout)
    expect(npm.stdout()).toMatch(/sallyport/i)
    expect(npm.stdout()).toContain('HTTPS_PROXY')
  })

  test('standard output carries records and nothing else', async () => {
    expect(await firstLineFor(3128, 'cgr.dv:443')).toMatch(
      /^HTTP\/1\.1 403 sallyport denied cgr\.dv:443: host_not_allowed, did you mean cgr\.dev\? \(id \S+\)$/,
    )
    const isDenied = (): boolean =>
      parseRecords(recorded()).some(({ event }) => event.action === 'tunnel-denied')
    await eventually('record of the refusal', 5_000, isDenied, recorded)
    expect(parseRecords(recorded())[0]?.event.action).toBe('gate-started')
  })

  test('Ctrl-C stops it, with a last record', async () => {
    npm.child.stdin?.write('\u0003')
    await within('end of npm start', 10_000, npm.exited)
    expect(parseRecords(recorded()).at(-1)?.event.action).toBe('gate-stopped')
    expect(await accepts(3128)).toBe(false)
  })
})

describe.skipIf(script.missing)(`standard output on a terminal${script.because}`, () => {
  const scope = new Scope()
  afterAll(() => scope.close())

  test('each record is one readable line, without colours where NO_COLOR asks for none', async () => {
    const port = await freePort()
    const config = writeConfig(scope, gateConfig(port, '127.0.0.1:9'))
    const gate = await startService(scope, {
      name: 'sallyport on a terminal',
      command: 'script',
      args: [...terminal, `${node} ${sallyport} serve --config ${config}`, '/dev/null'],
      cwd: root,
      env: tidyEnv(scope.folder, { TERM: 'xterm', NO_COLOR: '1' }),
      ready: () => accepts(port),
    })
    await firstLineFor(port, 'cgr.dv:443')
    const line = /^.*denied.*cgr\.dv:443.*host_not_allowed.*did you mean cgr\.dev\?.*127\.0\.0\.1.*$/m
    await eventually('line of the refusal', 5_000, () => line.test(gate.stdout()), gate.stdout)
    expect(gate.stdout()).not.toContain('"@timestamp"')
    expect(gate.stdout()).not.toContain('\u001b')
    gate.child.stdin?.write('\u0003')
    await within('end of the gate', 10_000, gate.exited)
  })
})
