/** A real rsyslogd on free ports of loopback, writing the text of each message to a file. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'
import { until } from './deadline.ts'
import { freePort } from './free-port.ts'

const PROGRAM = '/usr/sbin/rsyslogd'
const DRIVERS = ['x86_64-linux-gnu/', 'aarch64-linux-gnu/', ''].map(
  (folder) => `/usr/lib/${folder}rsyslog/lmnsd_ossl.so`,
)

export interface Certificate {
  /** Of the authority. */
  readonly ca: string
  readonly cert: string
  readonly key: string
}

/** For `describe.skipIf`, and for its title. */
export const rsyslog = existsSync(PROGRAM)
  ? { missing: false, because: '' }
  : { missing: true, because: ' (skipped: rsyslogd is not installed)' }

/** Its own TLS, which Debian has in a package apart. */
export const rsyslogTls = DRIVERS.some((path) => existsSync(path))
  ? rsyslog
  : { missing: true, because: ' (skipped: rsyslog-openssl is not installed)' }

export class Rsyslog {
  readonly port: number
  readonly #tls: Certificate | undefined
  readonly #folder = mkdtempSync(join(tmpdir(), 'sallyport-rsyslog-'))
  #child: ChildProcess | undefined

  private constructor(port: number, tls: Certificate | undefined) {
    this.port = port
    this.#tls = tls
  }

  /**
   * It is gone with the running test.
   *
   * @param tls with it, TCP is TLS
   */
  static async start(tls?: Certificate): Promise<Rsyslog> {
    const server = new Rsyslog(await freePort(), tls)
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
      `global(workDirectory="${this.#folder}" maxMessageSize="64k"${this.#tlsFiles()})
module(load="imtcp"${this.#tls ? ' streamDriver.name="ossl" streamDriver.mode="1" streamDriver.authMode="anon"' : ''})
module(load="imudp")
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

  #tlsFiles(): string {
    if (!this.#tls) return ''
    const settings = ['defaultNetstreamDriver="ossl"']
    for (const [name, text] of Object.entries(this.#tls)) {
      const file = join(this.#folder, `${name}.pem`)
      writeFileSync(file, String(text), { mode: 0o600 })
      settings.push(`defaultNetstreamDriver${name === 'ca' ? 'CA' : name}File="${file}"`)
    }
    return ` ${settings.join(' ')}`
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
