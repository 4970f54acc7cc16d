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
  readonly #open = new Set<() => void>()

  constructor(trail: Trail) {
    this.#trail = trail
  }

  /** Starts a stream, or says why not. @param actions only these, where given */
  start(response: ServerResponse, actions: ReadonlySet<string> | undefined): Reply | undefined {
    if (this.#open.size >= MAX_STREAMS) {
      return problem(
        503,
        'too_many_streams',
        `${MAX_STREAMS} streams are open; close one, or try again later`,
      )
    }
    response.writeHead(200, { ...COMMON_HEADERS, 'Content-Type': 'text/event-stream; charset=utf-8' })
    response.write('retry: 2000\n\n')
    let gathered: string[] = []
    let skipped = 0
    let timer: NodeJS.Timeout | undefined
    const send = (): void => {
      timer = undefined
      if (response.writableLength > MAX_WAITING_BYTES) {
        response.destroy()
        return
      }
      if (skipped > 0) gathered.push(`event: skipped\ndata: {"count":${skipped}}\n\n`)
      response.write(gathered.join(''))
      gathered = []
      skipped = 0
    }
    const unwatch = this.#trail.watch((line, action) => {
      if (actions && !actions.has(action)) return
      if (gathered.length < MAX_GATHERED) gathered.push(formatEvent(line, action))
      else skipped += 1
      timer ??= setTimeout(send, GATHER_MS).unref()
    })
    const heartbeat = setInterval(() => response.write(': \n\n'), HEARTBEAT_MS).unref()
    const end = (): void => {
      unwatch()
      clearTimeout(timer)
      clearInterval(heartbeat)
      this.#open.delete(close)
    }
    const close = (): void => void response.end()
    this.#open.add(close)
    response.once('close', end)
    return undefined
  }

  closeAll(): void {
    for (const close of this.#open) close()
  }
}

function formatEvent(line: string, action: string): string {
  const at = line.indexOf(SEQUENCE) + SEQUENCE.length
  return `id: ${Number.parseInt(line.slice(at, at + 20), 10)}\nevent: ${action}\ndata: ${line.trimEnd()}\n\n`
}
