/** A real rsyslogd on free ports of loopback, writing the text of each message to a file. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { until } from './deadline.ts'
import { freePort } from './free-port.ts'

const PROGRAM = '/usr/sbin/rsyslogd'

/** For `describe.skipIf`, and for its title. */
export const rsyslog = existsSync(PROGRAM)
  ? { missing: false, because: '' }
  : { missing: true, because: ' (skipped: rsyslogd is not installed)' }

export class Rsyslog {
  readonly port: number
  readonly #folder = mkdtempSync(join(tmpdir(), 'sallyport-rsyslog-'))
  #child: ChildProcess | undefined

  private constructor(port: number) {
    this.port = port
  }

  /** It is gone with the running test. */
  static async start(): Promise<Rsyslog> {
    const server = new Rsyslog(await freePort())
    onTestFinished(async () => {
      await server.stop('SIGKILL')
      rmSync(server.#folder, { recursive: true, force: true })
    })
    await server.start()
    return server
  }

  /** Again, with the same port and file. */
  async start(): Promise<void> {
    const config = join(this.#folder, 'rsyslog.conf')
    const { port } = this
    writeFileSync(
      config,
      `global(workDirectory="${this.#folder}" maxMessageSize="64k")
module(load="imtcp") module(load="imudp")
input(type="imtcp" address="127.0.0.1" port="${port}") input(type="imudp" address="127.0.0.1" port="${port}")
template(name="parts" type="list") {
  property(name="pri") constant(value=" ") property(name="protocol-version") constant(value=" ")
  property(name="timestamp" dateFormat="rfc3339") constant(value=" ") property(name="hostname") constant(value=" ")
  property(name="app-name") constant(value=" ") property(name="msgid") constant(value=" ")
  property(name="msg") constant(value="\\n")
}
action(type="omfile" file="${this.#file}" template="parts")
`,
    )
    this.#child = spawn(PROGRAM, ['-n', '-f', config, '-i', join(this.#folder, 'pid')], { stdio: 'ignore' })
    await until(() => listens(port), 'rsyslogd to listen')
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    const child = this.#child
    if (!child || child.exitCode !== null || child.signalCode !== null) return
    const gone = new Promise((resolve) => {
      child.once('close', resolve)
    })
    child.kill(signal)
    await gone
  }

  /** Header and record of each message so far. */
  get messages(): readonly { readonly header: string; readonly line: string }[] {
    if (!existsSync(this.#file)) return []
    const lines = readFileSync(this.#file, 'utf8').split('\n').slice(0, -1)
    return lines.map((text) => {
      const start = text.indexOf(' {')
      return { header: text.slice(0, start), line: text.slice(start + 1) }
    })
  }

  get #file(): string {
    return join(this.#folder, 'received')
  }
}

/** From the kernel's list, so that no connection is made. */
function listens(port: number): boolean {
  const { stdout } = spawnSync('cat', ['/proc/net/tcp'], { encoding: 'utf8' })
  return stdout.includes(`0100007F:${port.toString(16).toUpperCase().padStart(4, '0')} 00000000:0000 0A`)
}
