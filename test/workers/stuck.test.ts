/** A worker that hangs, with real processes: a reload ends all the same, and one policy is in force. */
import { fork } from 'node:child_process'
import { expect, onTestFinished, test } from 'vitest'
import { createJournal } from '../../src/audit/journal.ts'
import { systemClock } from '../../src/clock.ts'
import { LINES_FD } from '../../src/workers/protocol.ts'
import { Supervisor } from '../../src/workers/supervisor.ts'
import { PROGRAM, ROOT } from '../cli/run.ts'
import { AuditLog } from '../support/audit-log.ts'
import { until, within } from '../support/deadline.ts'
import { EchoServer } from '../support/echo-server.ts'
import { freePort } from '../support/free-port.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'

async function startSupervisor(text: () => string) {
  const audit = new AuditLog()
  const journal = createJournal({
    sinks: [audit],
    clock: systemClock,
    record: 'all',
    onError: 'continue',
    version: '0.0.0',
    nodeName: 'test',
  })
  const listen = [{ host: '127.0.0.1', port: await freePort() }]
  const supervisor = new Supervisor({
    workers: 2,
    spawn() {
      const stdio: ('ignore' | 'inherit' | 'ipc' | 'pipe')[] = ['ignore', 'ignore', 'inherit', 'ipc']
      stdio[LINES_FD] = 'pipe'
      return fork(PROGRAM, ['worker'], { cwd: ROOT, execArgv: [], stdio })
    },
    setup: () => ({ text: text(), name: 'test', overrides: {}, nowMs: Date.now(), listen }),
    ledger: journal.ledger,
    acknowledge: false,
    audit: journal,
    state: () => ({ policyHash: 'sha256:0', mode: 'enforce' }),
    clock: systemClock,
    stopTimeoutMs: () => 1000,
    reloadTimeoutMs: 1000,
    say: () => undefined,
  })
  onTestFinished(() => supervisor.stop())
  const [endpoint] = await supervisor.start()
  const seen = (action: string) => audit.records.filter(({ event }) => event.action === action)
  return { supervisor, seen, port: endpoint?.port ?? 0 }
}

test.skipIf(process.platform !== 'linux')(
  'a worker that does not take a reload is killed, and replaced by one that has it',
  async () => {
    const origin = await EchoServer.start()
    onTestFinished(() => origin.close())
    const config = (host: string): string =>
      JSON.stringify({
        policy: { presets: [], allow: [{ host, port: origin.port }], sni: 'off' },
        dns: { hosts: { 'a.test': ['127.0.0.1'], 'b.test': ['127.0.0.1'] } },
        addresses: { allow: ['127.0.0.0/8'] },
      })
    let text = config('a.test')
    const { supervisor, seen, port } = await startSupervisor(() => text)
    const statusOf = async (host: string): Promise<number> => {
      const client = await RawClient.connect(port)
      await client.send(connectRequest(`${host}:${origin.port}`))
      const { status } = await client.reply()
      client.destroy()
      return status
    }

    const [stuck = 0] = supervisor.pids
    process.kill(stuck, 'SIGSTOP')
    text = config('b.test')
    // A second one does not wait for ever behind the first either.
    await within(supervisor.reload(), 'the reload')
    await within(supervisor.reload(), 'the next reload')

    const lost = (): ReturnType<typeof seen> =>
      seen('worker-lost').filter(({ sallyport }) => sallyport['pid'] === stuck)
    await until(() => lost().length === 1, 'the loss on record')
    expect(lost()[0]?.sallyport).toMatchObject({ worker: 1, ended: 'SIGKILL', tunnels: 0 })
    expect(lost()[0]?.message).toBe(
      'worker 1 ended (SIGKILL, it had not taken the new configuration within 1 s) with 0 open tunnels',
    )
    await until(() => supervisor.serving === 2, 'the replacement')
    // The kernel spreads them over both.
    for (let round = 0; round < 20; round += 1) {
      expect(await statusOf('b.test')).toBe(200)
      expect(await statusOf('a.test')).toBe(403)
    }
  },
)
