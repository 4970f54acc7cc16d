/** A client that sends exactly the bytes it is given and keeps exactly the bytes it gets. */
import { connect, type Socket } from 'node:net'
import { within } from './deadline.ts'

export interface Reply {
  readonly statusLine: string
  readonly status: number
  readonly phrase: string
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, string>
  /** Header lines as they came. */
  readonly headerLines: readonly string[]
  /** As many bytes as Content-Length says; all of them when it says nothing and the status is no success. */
  readonly body: string
}

export type End = 'fin' | 'reset'

const END_OF_HEAD = '\r\n\r\n'

export class RawClient {
  readonly socket: Socket
  #received = Buffer.alloc(0)
  #end: End | undefined
  #waiting: (() => void)[] = []

  private constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (chunk: Buffer) => {
      this.#received = Buffer.concat([this.#received, chunk])
      this.#wake()
    })
    socket.on('end', () => {
      this.#end ??= 'fin'
      this.#wake()
    })
    socket.on('error', () => {
      this.#end ??= 'reset'
      this.#wake()
    })
    socket.on('close', () => {
      this.#end ??= 'reset'
      this.#wake()
    })
  }

  static async connect(port: number, options: { localAddress?: string } = {}): Promise<RawClient> {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true, allowHalfOpen: true, ...options })
    const client = new RawClient(socket)
    await within(
      new Promise<void>((resolve, reject) => {
        socket.once('connect', resolve)
        socket.once('error', reject)
      }),
      `connecting to port ${port}`,
    )
    return client
  }

  /** Everything that came and was not taken yet. */
  get received(): Buffer {
    return this.#received
  }

  /** Sends the bytes; text goes out as UTF-8. Several arguments go out as several segments. */
  async send(...segments: readonly (Buffer | string)[]): Promise<void> {
    for (const segment of segments) {
      await within(
        new Promise<void>((resolve) => {
          // An error shows in how the connection ends.
          this.socket.write(segment, () => resolve())
        }),
        'the peer taking what is sent',
      )
      // Lets the other side see this segment before the next one comes.
      if (segments.length > 1) {
        await new Promise((resolve) => {
          setImmediate(resolve)
        })
      }
    }
  }

  /** The HTTP reply; what comes after it stays to be taken. */
  async reply(): Promise<Reply> {
    await this.#until(() => this.#received.includes(END_OF_HEAD), 'the head of a reply')
    const headEnd = this.#received.indexOf(END_OF_HEAD)
    if (headEnd === -1)
      throw new Error(`no HTTP reply, but ${JSON.stringify(this.#received.toString('latin1'))}`)
    const [statusLine = '', ...headerLines] = this.take(headEnd + END_OF_HEAD.length)
      .toString('latin1')
      .slice(0, headEnd)
      .split('\r\n')
    const parsed = /^HTTP\/1\.1 ([0-9]{3}) (.*)$/.exec(statusLine)
    if (!parsed) throw new Error(`no status line: ${JSON.stringify(statusLine)}`)
    const status = Number(parsed[1])
    const headers = new Map(
      headerLines.map((line): [string, string] => {
        const colon = line.indexOf(':')
        return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()]
      }),
    )
    const length = headers.get('content-length')
    let body = ''
    if (length !== undefined) body = (await this.bytes(Number(length))).toString('utf8')
    else if (status >= 300) body = (await this.rest()).toString('utf8')
    return { statusLine, status, phrase: parsed[2] ?? '', headers, headerLines, body }
  }

  /** Takes the next `length` bytes. */
  async bytes(length: number): Promise<Buffer> {
    await this.#until(() => this.#received.length >= length, `${length} bytes`)
    return this.take(length)
  }

  /** Everything until the other side ends. */
  async rest(): Promise<Buffer> {
    await this.ended()
    return this.take(this.#received.length)
  }

  /** Takes what is there already, at most `length` bytes. */
  take(length: number): Buffer {
    const taken = this.#received.subarray(0, length)
    this.#received = this.#received.subarray(length)
    return taken
  }

  /** Waits for the other side's end and says how it came; a FIN is answered with ours. */
  async ended(): Promise<End> {
    await this.#until(() => this.#end !== undefined, 'the other side to close')
    this.socket.end()
    return this.#end ?? 'reset'
  }

  /** Sends FIN; the other direction stays open. */
  finish(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.destroy()
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }

  /** Waits for the condition, or for the other side's end. */
  async #until(condition: () => boolean, what: string): Promise<void> {
    while (!condition() && this.#end === undefined) {
      await within(
        new Promise<void>((resolve) => {
          this.#waiting.push(resolve)
        }),
        `${what}, after ${JSON.stringify(this.#received.subarray(0, 200).toString('latin1'))}`,
      )
    }
  }
}
