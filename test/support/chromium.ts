/** A real Chromium, headless, driven over its DevTools protocol. */
import { spawn, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { z } from 'zod'
import { within } from './deadline.ts'

const PROGRAMS = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome']
export const chromium = PROGRAMS.find((path) => existsSync(path))

/** A browser may take its time on a machine that does something else, too. */
const PATIENCE_MS = 30_000

const message = z.looseObject({
  id: z.int().optional(),
  method: z.string().optional(),
  params: z.unknown().optional(),
  result: z.unknown().optional(),
  error: z.looseObject({ message: z.string() }).optional(),
})
const evaluated = z.object({
  result: z.looseObject({ value: z.unknown().optional() }),
  exceptionDetails: z.unknown().optional(),
})

export class Page {
  /** What the page wrote to its console, and what it threw or was refused. */
  readonly complaints: string[] = []
  readonly #socket: WebSocket
  readonly #waiting = new Map<number, (answer: z.infer<typeof message>) => void>()
  #lastId = 0

  private constructor(socket: WebSocket) {
    this.#socket = socket
    socket.addEventListener('message', ({ data }) => {
      const received = message.parse(JSON.parse(String(data)))
      if (received.id !== undefined) this.#waiting.get(received.id)?.(received)
      else if (/Runtime\.(?:exceptionThrown|consoleAPICalled)|Log\.entryAdded/.test(received.method ?? ''))
        this.complaints.push(JSON.stringify(received.params))
    })
  }

  /** One page of a browser that is gone after the test. */
  static async open(): Promise<Page> {
    if (chromium === undefined) throw new Error('no Chromium here')
    const profile = mkdtempSync(join(tmpdir(), 'sallyport-chromium-'))
    const child = spawn(
      chromium,
      [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--disable-dev-shm-usage',
        '--no-first-run',
        '--remote-debugging-port=0',
        `--user-data-dir=${profile}`,
        'about:blank',
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, no_proxy: '*' } },
    )
    onTestFinished(async () => {
      await end(child)
      rmSync(profile, { recursive: true, force: true, maxRetries: 5 })
    })
    const port = await within(debuggingPort(child), 'the start of Chromium', PATIENCE_MS)
    const targets = z.array(z.looseObject({ type: z.string(), webSocketDebuggerUrl: z.string() }))
    const listed = targets.parse(await (await fetch(`http://127.0.0.1:${port}/json/list`)).json())
    const url = listed.find(({ type }) => type === 'page')?.webSocketDebuggerUrl ?? ''
    const socket = new WebSocket(url)
    const opened = new Promise((resolve) => {
      socket.addEventListener('open', resolve, { once: true })
    })
    await within(opened, 'the DevTools of Chromium', PATIENCE_MS)
    const page = new Page(socket)
    for (const domain of ['Page', 'Runtime', 'Log', 'Accessibility']) await page.send(`${domain}.enable`)
    return page
  }

  async send(method: string, params: Readonly<Record<string, unknown>> = {}): Promise<unknown> {
    this.#lastId += 1
    const id = this.#lastId
    const answered = new Promise<z.infer<typeof message>>((resolve) => this.#waiting.set(id, resolve))
    this.#socket.send(JSON.stringify({ id, method, params }))
    const { result, error } = await within(answered, method, PATIENCE_MS)
    this.#waiting.delete(id)
    if (error) throw new Error(`${method}: ${error.message}`)
    return result
  }

  async go(url: string): Promise<void> {
    await this.send('Page.navigate', { url })
  }

  /** The value of an expression in the page; it has to be plain data. */
  async evaluate(expression: string): Promise<unknown> {
    const params = { expression, awaitPromise: true, returnByValue: true }
    const { result, exceptionDetails } = evaluated.parse(await this.send('Runtime.evaluate', params))
    if (exceptionDetails !== undefined) throw new Error(`${expression}: ${JSON.stringify(exceptionDetails)}`)
    return result.value
  }

  /** Waits until the expression is true. Answers with how long that took, in milliseconds. */
  async until(expression: string, what: string, ms = PATIENCE_MS): Promise<number> {
    const startedMs = performance.now()
    while ((await this.evaluate(expression).catch(() => false)) !== true) {
      if (performance.now() - startedMs > ms) {
        const text = await this.evaluate('document.body.innerText')
        throw new Error(`${what}: not within ${ms} ms; the page says: ${String(text).slice(0, 2000)}`)
      }
      await new Promise((resolve) => {
        setTimeout(resolve, 20)
      })
    }
    return performance.now() - startedMs
  }

  async press(key: 'Tab' | 'Enter', code: number): Promise<void> {
    const params = { key, code: key, windowsVirtualKeyCode: code, ...(key === 'Enter' && { text: '\r' }) }
    await this.send('Input.dispatchKeyEvent', { type: 'keyDown', ...params })
    await this.send('Input.dispatchKeyEvent', { type: 'keyUp', ...params })
  }

  /** A PNG of the whole page. */
  async picture(width: number, scheme: 'light' | 'dark', mobile = false): Promise<Buffer> {
    await this.send('Emulation.setEmulatedMedia', {
      features: [{ name: 'prefers-color-scheme', value: scheme }],
    })
    const size = { width, height: 900, deviceScaleFactor: 1, mobile }
    await this.send('Emulation.setDeviceMetricsOverride', size)
    const height = await this.evaluate('document.documentElement.scrollHeight')
    await this.send('Emulation.setDeviceMetricsOverride', { ...size, height })
    const { data } = z
      .object({ data: z.string() })
      .parse(await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: true }))
    return Buffer.from(data, 'base64')
  }
}

function debuggingPort(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let said = ''
    child.stderr?.setEncoding('utf8').on('data', (chunk: string) => {
      said += chunk
      const port = /DevTools listening on ws:\/\/127\.0\.0\.1:([0-9]+)\//.exec(said)?.[1]
      if (port !== undefined) resolve(Number(port))
    })
    child.once('exit', () => reject(new Error(`Chromium ended: ${said}`)))
  })
}

function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null) resolve()
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}
