/** The real program, where those who read its output stall, die or were never there, and what signals do then. */
import { spawn, type ChildProcess } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, onTestFinished, test } from 'vitest'
import { until, within } from '../support/deadline.ts'
import { Fifo, PipeReader } from '../support/fifo.ts'
import { freePort } from '../support/free-port.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'
import { PROGRAM, ROOT, run } from './run.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-signals-'))
afterAll(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** Flushing takes three seconds at most; the rest is for a machine that is busy. */
const END_MS = 8000

let files = 0
function configFile(port: number, audit: Readonly<Record<string, unknown>>): string {
  files += 1
  const file = join(folder, `${files}.yaml`)
  // JSON is YAML. The static address is never dialled: the guard keeps loopback out.
  const config = {
    listen: `127.0.0.1:${port}`,
    admin: { listen: null },
    dns: { hosts: { 'cgr.dev': ['127.0.0.1'] } },
    audit,
  }
  writeFileSync(file, JSON.stringify(config))
  return file
}

interface Served {
  readonly port: number
  readonly child: ChildProcess
  /** What it said on a standard error that the test reads. */
  readonly stderr: () => string
  readonly stdout: () => string
  /** How it ended. */
  readonly end: (ms: number) => Promise<number | NodeJS.Signals | null>
}

type Output = 'pipe' | 'ignore' | number

/** Starts the proxy and waits until its port is open. */
async function serve(
  audit: Readonly<Record<string, unknown>>,
  { stdout = 'pipe', stderr = 'pipe' }: { stdout?: Output; stderr?: Output } = {},
): Promise<Served> {
  const port = await freePort()
  const child = spawn(process.execPath, [PROGRAM, 'serve', '--config', configFile(port, audit)], {
    cwd: ROOT,
    env: {
      ...process.env,
      NO_COLOR: '1',
      NODE_COMPILE_CACHE: join(ROOT, 'node_modules/.cache/sallyport-tests'),
    },
    stdio: ['ignore', stdout, stderr],
  })
  const text = { stdout: '', stderr: '' }
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => {
    text.stdout += chunk
  })
  child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
    text.stderr += chunk
  })
  const ended = new Promise<number | NodeJS.Signals | null>((resolve) => {
    child.once('exit', (code, signal) => resolve(code ?? signal))
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  const end = Date.now() + 10_000
  for (;;) {
    try {
      ;(await RawClient.connect(port)).destroy()
      break
    } catch (error) {
      if (child.exitCode !== null || Date.now() > end) throw error
    }
  }
  return {
    port,
    child,
    stdout: () => text.stdout,
    stderr: () => text.stderr,
    end: (ms) => within(ended, 'the end of the process', ms),
  }
}

/** The status line of the answer to a CONNECT. */
async function ask(port: number, target: string): Promise<string> {
  const client = await RawClient.connect(port)
  try {
    await client.send(connectRequest(target))
    return (await client.reply()).statusLine
  } finally {
    client.destroy()
  }
}

const DENIED = /^HTTP\/1\.1 403 .*host_not_allowed/
const UNAVAILABLE = /^HTTP\/1\.1 503 .*audit_unavailable/

/** Asks for an allowed host until the gate knows that its records go nowhere. */
async function untilUnavailable(port: number): Promise<void> {
  const end = performance.now() + 5000
  for (;;) {
    const line = await ask(port, 'cgr.dev:443')
    if (UNAVAILABLE.test(line)) return
    if (performance.now() > end) throw new Error(`still ${line}`)
  }
}

const actions = (text: string): readonly unknown[] =>
  text
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => {
      const record: { event?: { action?: unknown } } = JSON.parse(line)
      return record.event?.action
    })

describe('a reader of standard output and standard error that dies', () => {
  test('leaves a gate that denies as ever and opens nothing', async () => {
    const fifo = new Fifo()
    const output = fifo.writer('blocking')
    const reader = await PipeReader.start(fifo)
    const gate = await serve({}, { stdout: output, stderr: output })
    await until(() => reader.text.includes('gate-started'), 'the first record')
    fifo.close(output)
    await reader.kill()

    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    await untilUnavailable(gate.port)
    for (let again = 0; again < 3; again += 1) {
      expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
      expect(await ask(gate.port, 'cgr.dev:443')).toMatch(UNAVAILABLE)
    }
    // What would be said of SIGHUP goes nowhere, too.
    gate.child.kill('SIGHUP')
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    expect(gate.child.exitCode).toBeNull()
    gate.child.kill('SIGTERM')
    // Not 0: records are lost.
    expect(await gate.end(END_MS)).toBe(1)
  })

  test('of standard error alone does no harm at all', async () => {
    const fifo = new Fifo()
    const output = fifo.writer('blocking')
    const reader = await PipeReader.start(fifo)
    const gate = await serve({}, { stderr: output })
    fifo.close(output)
    await reader.kill()
    for (let again = 0; again < 3; again += 1) gate.child.kill('SIGHUP')
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    expect(await ask(gate.port, 'cgr.dev:443')).not.toMatch(UNAVAILABLE)
    gate.child.kill('SIGTERM')
    expect(await gate.end(END_MS)).toBe(0)
    expect(actions(gate.stdout()).at(-1)).toBe('gate-stopped')
  })
})

describe('SIGHUP without a terminal', () => {
  test('reloads, and the gate goes on', async () => {
    const gate = await serve({})
    gate.child.kill('SIGHUP')
    await until(() => gate.stderr() !== '', 'a word on standard error')
    expect(gate.stderr()).toBe('sallyport: reloaded, the same policy\n')
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    gate.child.kill('SIGTERM')
    expect(await gate.end(END_MS)).toBe(0)
    await until(() => gate.stdout().includes('gate-stopped'), 'the last record')
    expect(actions(gate.stdout())).toEqual([
      'gate-started',
      'gate-reloaded',
      'tunnel-denied',
      'gate-draining',
      'gate-stopped',
    ])
  })
})

describe('audit.file', () => {
  test('a FIFO that nobody reads: exit code 2, and a line that says so', async () => {
    const fifo = new Fifo()
    const file = configFile(await freePort(), { file: { path: fifo.path } })
    expect(await run(['serve', '--config', file])).toEqual({
      code: 2,
      stdout: '',
      stderr: `sallyport: cannot open audit.file ${fifo.path}: nobody reads this FIFO; nothing listens\n`,
    })
  })

  test('in a folder that does not exist: exit code 2, and what to do', async () => {
    const path = join(folder, 'absent', 'audit.ndjson')
    const file = configFile(await freePort(), { file: { path } })
    const { code, stdout, stderr } = await run(['serve', '--config', file])
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' })
    expect(stderr).toBe(
      `sallyport: cannot open audit.file ${path}: its folder does not exist; create it, or name another file; nothing listens\n`,
    )
  })

  test('that is a folder: exit code 2', async () => {
    const file = configFile(await freePort(), { file: { path: folder } })
    const { code, stderr } = await run(['serve', '--config', file])
    expect(code).toBe(2)
    expect(stderr).toContain(`cannot open audit.file ${folder}: it is a folder; nothing listens`)
  })

  test('that is there already is continued', async () => {
    const path = join(folder, 'continued.ndjson')
    writeFileSync(path, '{"earlier":true}\n')
    const gate = await serve({ stdout: false, file: { path } })
    gate.child.kill('SIGTERM')
    expect(await gate.end(END_MS)).toBe(0)
    const text = readFileSync(path, 'utf8')
    expect(text.startsWith('{"earlier":true}\n{')).toBe(true)
    expect(actions(text).slice(1)).toEqual(['gate-started', 'gate-draining', 'gate-stopped'])
  })

  test('a FIFO whose reader stalls does not keep SIGTERM from ending the process', async () => {
    const fifo = new Fifo()
    fifo.reader()
    fifo.fill()
    const gate = await serve({ stdout: false, file: { path: fifo.path } })
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    gate.child.kill('SIGTERM')
    expect(await gate.end(END_MS)).toBe(1)
    // gate-started, tunnel-denied, gate-draining, gate-stopped.
    await until(() => gate.stderr().includes('could not be written'), 'what was lost')
    expect(gate.stderr()).toContain('sallyport: 4 audit records could not be written\n')
  })

  test('a FIFO whose reader wakes in time has every record', async () => {
    const fifo = new Fifo()
    const reader = fifo.reader()
    const filled = fifo.fill()
    const gate = await serve({ stdout: false, file: { path: fifo.path } })
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    gate.child.kill('SIGTERM')
    const text = await Fifo.readUntil(reader, (text) => text.includes('gate-stopped'), 'the last record')
    expect(actions(text.slice(filled))).toEqual([
      'gate-started',
      'tunnel-denied',
      'gate-draining',
      'gate-stopped',
    ])
    expect(await gate.end(END_MS)).toBe(0)
  })
})

describe('a pipe on standard output whose reader stalls', () => {
  test.each(['blocking', 'non-blocking'] as const)(
    'does not keep SIGTERM from ending it (%s)',
    async (kind) => {
      const fifo = new Fifo()
      fifo.reader()
      const output = fifo.writer(kind)
      fifo.fill()
      const gate = await serve({}, { stdout: output })
      fifo.close(output)
      expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
      gate.child.kill('SIGTERM')
      expect(await gate.end(END_MS)).toBe(1)
    },
  )
})

describe('a pipe on standard error whose reader stalls', () => {
  test.each(['blocking', 'non-blocking'] as const)('holds up nobody (%s)', async (kind) => {
    const fifo = new Fifo()
    fifo.reader()
    const output = fifo.writer(kind)
    const gate = await serve({}, { stderr: output })
    fifo.fill()
    fifo.close(output)
    gate.child.kill('SIGHUP')
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    gate.child.kill('SIGHUP')
    expect(await ask(gate.port, 'example.com:443')).toMatch(DENIED)
    gate.child.kill('SIGTERM')
    expect(await gate.end(END_MS)).toBe(0)
  })
})
