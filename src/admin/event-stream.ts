/** `/api/events`: audit records as they are written, as server-sent events. Slow and too many readers cost the gate nothing. */
import type { ServerResponse } from 'node:http'
import { COMMON_HEADERS, problem, type Reply } from './reply.ts'
import type { Trail } from './trail.ts'

const MAX_STREAMS = 32
/** Events go out together, this often. */
const GATHER_MS = 100
/** Beyond, events are left out and counted; at 10 sends a second that is 1,000 records a second. */
const MAX_GATHERED = 100
/** A reader with more than this before it is too slow, and let go. */
const MAX_WAITING_BYTES = 1024 * 1024
/** Says that the connection lives, to proxies and to us. */
const HEARTBEAT_MS = 10_000

const SEQUENCE = '"sequence":'

export class EventStreams {
  readonly #trail: Trail
  /** By the actions that were asked for: what is the same for several readers is made once. */
  readonly #channels = new Map<string, Channel>()
  #open = 0

  constructor(trail: Trail) {
    this.#trail = trail
  }

  /** Starts a stream, or says why not. @param actions only these, separated by commas, where given */
  start(response: ServerResponse, actions: string | null): Reply | undefined {
    if (this.#open >= MAX_STREAMS) {
      return problem(
        503,
        'too_many_streams',
        `${MAX_STREAMS} streams are open; close one, or try again later`,
      )
    }
    response.writeHead(200, { ...COMMON_HEADERS, 'Content-Type': 'text/event-stream; charset=utf-8' })
    response.write('retry: 2000\n\n')
    const key = actions ?? ''
    const channel = this.#channels.get(key) ?? new Channel(this.#trail, actions)
    this.#channels.set(key, channel)
    this.#open += 1
    channel.join(response)
    response.once('close', () => {
      this.#open -= 1
      if (channel.leave(response)) this.#channels.delete(key)
    })
    return undefined
  }

  closeAll(): void {
    for (const channel of this.#channels.values()) channel.closeAll()
  }
}

/** Readers of the same actions. */
class Channel {
  readonly #readers = new Set<ServerResponse>()
  readonly #unwatch: () => void
  readonly #heartbeat: NodeJS.Timeout
  #gathered: string[] = []
  #skipped = 0
  #timer: NodeJS.Timeout | undefined

  constructor(trail: Trail, actions: string | null) {
    const wanted = actions === null ? undefined : new Set(actions.split(','))
    this.#unwatch = trail.watch((line, action) => {
      if (wanted && !wanted.has(action)) return
      if (this.#gathered.length < MAX_GATHERED) this.#gathered.push(formatEvent(line, action))
      else this.#skipped += 1
      this.#timer ??= setTimeout(() => this.#send(), GATHER_MS).unref()
    })
    this.#heartbeat = setInterval(() => this.#write(Buffer.from(': \n\n')), HEARTBEAT_MS).unref()
  }

  join(reader: ServerResponse): void {
    this.#readers.add(reader)
  }

  /** Whether nobody is left; then it is over. */
  leave(reader: ServerResponse): boolean {
    this.#readers.delete(reader)
    if (this.#readers.size > 0) return false
    this.#unwatch()
    clearTimeout(this.#timer)
    clearInterval(this.#heartbeat)
    return true
  }

  closeAll(): void {
    for (const reader of this.#readers) reader.end()
  }

  #send(): void {
    this.#timer = undefined
    if (this.#skipped > 0) this.#gathered.push(`event: skipped\ndata: {"count":${this.#skipped}}\n\n`)
    this.#write(Buffer.from(this.#gathered.join('')))
    this.#gathered = []
    this.#skipped = 0
  }

  #write(bytes: Buffer): void {
    for (const reader of this.#readers) {
      if (reader.writableLength > MAX_WAITING_BYTES) reader.destroy()
      else reader.write(bytes)
    }
  }
}

function formatEvent(line: string, action: string): string {
  const at = line.indexOf(SEQUENCE) + SEQUENCE.length
  return `id: ${Number.parseInt(line.slice(at, at + 20), 10)}\nevent: ${action}\ndata: ${line.trimEnd()}\n\n`
}
