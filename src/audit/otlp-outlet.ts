/**
 * Records to an OpenTelemetry collector: OTLP/HTTP with JSON. What the specification says of retrying holds: after 429,
 * 502, 503, 504 and failures of the network, later and later, or when the server says; after any other refusal never.
 */
import { z } from 'zod'
import type { Clock } from '../clock.ts'
import { formatOtlpRequest } from './otlp-request.ts'
import type { Outlet, Sent } from './queued-sink.ts'

export interface OtlpOutletOptions {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly timeoutMs: number
  readonly clock: Clock
  /** Between 0 and 1; spreads the tries of many gates. */
  readonly random: () => number
}

const MAX_RECORDS = 512
const MAX_BYTES = 1024 * 1024
const RETRYABLE: ReadonlySet<number> = new Set([429, 502, 503, 504])
const FIRST_BACKOFF_MS = 1000
const MAX_BACKOFF_MS = 30_000

const partialSuccess = z.object({
  partialSuccess: z.object({ rejectedLogRecords: z.coerce.number().default(0) }).optional(),
})

export class OtlpOutlet implements Outlet {
  readonly #options: OtlpOutletOptions
  #backoffMs = FIRST_BACKOFF_MS

  constructor(options: OtlpOutletOptions) {
    this.#options = options
  }

  send(lines: readonly string[], done: (sent: Sent) => void): void {
    void this.#post(someOf(lines), done)
  }

  async #post(lines: readonly string[], done: (sent: Sent) => void): Promise<void> {
    const { url, headers, timeoutMs, clock } = this.#options
    let sent: Sent
    try {
      const response = await fetch(url, {
        method: 'POST',
        headers: { ...headers, 'content-type': 'application/json' },
        body: formatOtlpRequest(lines, clock.wallMs()),
        redirect: 'manual',
        signal: AbortSignal.timeout(timeoutMs),
      })
      const body = await response.text()
      sent = this.#judge(lines.length, response, body)
    } catch (error) {
      sent = { delivered: 0, failure: whyFailed(error), retryMs: this.#backOff() }
    }
    done(sent)
  }

  #judge(count: number, { status, headers }: Response, body: string): Sent {
    if (RETRYABLE.has(status)) {
      const backoffMs = this.#backOff()
      const askedMs = retryAfterMs(headers.get('retry-after'), this.#options.clock.wallMs())
      return { delivered: 0, failure: `HTTP ${status}`, retryMs: askedMs ?? backoffMs }
    }
    this.#backoffMs = FIRST_BACKOFF_MS
    if (status < 200 || status > 299) return { delivered: count, rejected: count, failure: `HTTP ${status}` }
    const rejected = Math.min(count, countRejected(body))
    return rejected > 0 ? { delivered: count, rejected, failure: 'rejected' } : { delivered: count }
  }

  /** Twice as long each time, and between half of that and all of it. */
  #backOff(): number {
    const waitMs = this.#backoffMs * (0.5 + this.#options.random() / 2)
    this.#backoffMs = Math.min(this.#backoffMs * 2, MAX_BACKOFF_MS)
    return waitMs
  }
}

function someOf(lines: readonly string[]): readonly string[] {
  let count = 0
  let bytes = 0
  for (const line of lines) {
    bytes += line.length
    if (count === MAX_RECORDS || (count > 0 && bytes > MAX_BYTES)) break
    count += 1
  }
  return lines.slice(0, count)
}

/** Seconds, or a date (RFC 9110 section 10.2.3); at most as long as we would wait ourselves at the longest. */
function retryAfterMs(value: string | null, nowMs: number): number | undefined {
  if (value === null) return undefined
  const ms = /^[0-9]+$/.test(value) ? Number(value) * 1000 : Date.parse(value) - nowMs
  return Number.isNaN(ms) ? undefined : Math.min(Math.max(ms, 0), MAX_BACKOFF_MS)
}

function countRejected(body: string): number {
  try {
    return partialSuccess.parse(JSON.parse(body)).partialSuccess?.rejectedLogRecords ?? 0
  } catch {
    // An empty answer says that all is well.
    return 0
  }
}

function whyFailed(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { cause } = error
  if (cause instanceof Error && 'code' in cause) return String(cause.code)
  return error.name === 'TimeoutError' ? 'ETIMEDOUT' : error.message
}
