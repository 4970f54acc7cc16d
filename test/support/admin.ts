/** A real gate with an admin listener, and requests to it as they stand. */
import { once } from 'node:events'
import { request, type IncomingHttpHeaders } from 'node:http'
import { connect, type Socket } from 'node:net'
import { text } from 'node:stream/consumers'
import { z } from 'zod'
import { within } from './deadline.ts'
import { EchoServer } from './echo-server.ts'
import { serve, type Served } from './served.ts'
import { onTestFinished } from 'vitest'

export const TOKEN = 'a-token-for-tests-0123456789'

export interface AdminGate extends Served {
  readonly admin: number
  /** The port of the host that echoes; `cgr.dev` is allowed there. */
  readonly origin: number
}

type Settings = Readonly<Record<string, unknown>>

/** Allows `cgr.dev` on the port of a host that echoes, without a look at the server name. */
export async function serveWithAdmin(
  settings: Settings | ((origin: number) => Settings) = {},
  admin: Readonly<Record<string, unknown>> = {},
): Promise<AdminGate> {
  const origin = await EchoServer.start()
  onTestFinished(() => origin.close())
  const gate = await serve({
    admin: { listen: '127.0.0.1:0', ...admin },
    policy: { presets: [], allow: [{ host: 'cgr.dev', port: origin.port, owner: 'platform' }], sni: 'off' },
    dns: { hosts: { 'cgr.dev': ['127.0.0.1'] } },
    addresses: { allow: ['127.0.0.0/8'] },
    ...(typeof settings === 'function' ? settings(origin.port) : settings),
  })
  const listens = String(gate.records()[0]?.sallyport['admin'])
  return { ...gate, admin: Number(listens.split(':').at(-1)), origin: origin.port }
}

export interface Answered {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

export interface AskOptions {
  readonly method?: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
}

export function ask(port: number, path: string, options: AskOptions = {}): Promise<Answered> {
  const { method = 'GET', headers = {}, body } = options
  const answered = new Promise<Answered>((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, path, method, headers, agent: false }, (response) => {
      text(response).then(
        (body) => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
        reject,
      )
    })
    asked.once('error', reject)
    asked.end(body)
  })
  return within(answered, `an answer to ${method} ${path}`)
}

/** A stream of events that somebody reads. */
export async function holdStream(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => undefined)
  socket.write('GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n')
  await within(once(socket, 'data'), 'a stream')
  return socket
}

export const withToken = { Authorization: `Bearer ${TOKEN}` }

const problem = z.object({ error: z.string().min(10), code: z.string() })

/** The code of an error, which comes as JSON with a sentence. */
export function codeOf({ body, headers }: Answered): string {
  if (headers['content-type'] !== 'application/json; charset=utf-8') return `not JSON: ${body}`
  return problem.parse(JSON.parse(body)).code
}
