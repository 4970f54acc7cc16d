/** An audit sink that keeps every line, and reads them as what they are. */
import { z } from 'zod'
import type { AuditSink } from '../../src/audit/sinks.ts'
import { until } from './deadline.ts'

const auditRecord = z.looseObject({
  '@timestamp': z.iso.datetime(),
  message: z.string(),
  log: z.object({ level: z.string() }),
  event: z.looseObject({
    action: z.string(),
    reason: z.string().optional(),
    outcome: z.string().optional(),
    id: z.string().optional(),
    sequence: z.int(),
  }),
  source: z.looseObject({ ip: z.string(), port: z.int() }).optional(),
  destination: z
    .looseObject({ domain: z.string().optional(), ip: z.string().optional(), port: z.int() })
    .optional(),
  http: z
    .looseObject({ request: z.looseObject({ method: z.string() }), version: z.string().optional() })
    .optional(),
  user_agent: z.looseObject({ original: z.string() }).optional(),
  rule: z.looseObject({ name: z.string(), ruleset: z.string() }).optional(),
  sallyport: z.looseObject({
    schema: z.int(),
    malformation: z.string().optional(),
    detail: z.string().optional(),
    target: z.string().optional(),
    hint: z.string().optional(),
    dns: z
      .looseObject({
        answers: z.array(z.string()),
        ttl: z.number().optional(),
        age: z.number().optional(),
        source: z.string(),
      })
      .optional(),
    dial: z.array(z.looseObject({ ip: z.string(), result: z.string() })).optional(),
  }),
})

export type AuditRecord = z.infer<typeof auditRecord>

const DECISIONS = new Set(['tunnel-opened', 'tunnel-denied', 'tunnel-failed'])

export class AuditLog implements AuditSink {
  readonly name = 'test'
  healthy = true
  readonly lost = 0
  readonly lines: string[] = []
  readonly #parsed: AuditRecord[] = []

  write(line: string): void {
    this.lines.push(line)
  }

  /** While set, what `written` answers with. */
  writing: Promise<boolean> | undefined

  /** As a real sink: an unhealthy one has not written. */
  written(): Promise<boolean> {
    return this.writing ?? Promise.resolve(this.healthy)
  }

  flush(): Promise<boolean> {
    return Promise.resolve(true)
  }

  get records(): readonly AuditRecord[] {
    for (const line of this.lines.slice(this.#parsed.length))
      this.#parsed.push(auditRecord.parse(JSON.parse(line)))
    return this.#parsed
  }

  /** How each CONNECT was decided: opened, denied or failed. */
  get decisions(): readonly AuditRecord[] {
    return this.records.filter((record) => DECISIONS.has(record.event.action))
  }

  get closings(): readonly AuditRecord[] {
    return this.records.filter((record) => record.event.action === 'tunnel-closed')
  }

  /** The decisions, once there are `count` of them. */
  async waitForDecisions(count: number): Promise<readonly AuditRecord[]> {
    await until(() => this.decisions.length >= count, `${count} decision records`)
    return this.decisions
  }

  async waitForClosings(count: number): Promise<readonly AuditRecord[]> {
    await until(() => this.closings.length >= count, `${count} closing records`)
    return this.closings
  }
}
