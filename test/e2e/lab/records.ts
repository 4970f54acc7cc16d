import { z } from 'zod'

const parts = <Shape extends z.ZodRawShape>(shape: Shape) => z.looseObject(shape).partial()

/** The parts of an audit record that the tests look at. */
const auditRecord = z.looseObject({
  '@timestamp': z.iso.datetime(),
  message: z.string(),
  event: z.looseObject({
    action: z.string(),
    sequence: z.int(),
    id: z.string().optional(),
    outcome: z.string().optional(),
    reason: z.string().optional(),
    duration: z.int().optional(),
  }),
  source: parts({ ip: z.string(), port: z.int(), bytes: z.int() }).optional(),
  destination: parts({ domain: z.string(), port: z.int(), ip: z.string(), bytes: z.int() }).optional(),
  http: parts({ version: z.string() }).optional(),
  rule: parts({ name: z.string(), ruleset: z.string() }).optional(),
  sallyport: z.looseObject({
    schema: z.literal(1),
    hint: z.string().optional(),
    dns: parts({
      answers: z.array(z.string()),
      ttl: z.number(),
      age: z.number(),
      source: z.string(),
    }).optional(),
    dial: z.array(z.looseObject({ ip: z.string(), result: z.string(), ms: z.number() })).optional(),
    listener: z.string().optional(),
  }),
})
export type AuditRecord = z.infer<typeof auditRecord>

/** Every whole line is one record: a line that is not one is an error, because nothing else belongs there. */
export const parseRecords = (text: string): AuditRecord[] =>
  text
    .split('\n')
    .slice(0, -1)
    .map((line) => {
      try {
        return auditRecord.parse(JSON.parse(line))
      } catch (error) {
        throw new Error(`not a record on standard output: ${line}`, { cause: error })
      }
    })

const decisions = new Set(['tunnel-denied', 'tunnel-opened', 'tunnel-failed'])

export const isDecision = (record: AuditRecord): boolean => decisions.has(record.event.action)

/** What the gate decided about the connection that came from this port. */
export const decisionsFrom = (records: readonly AuditRecord[], port: number): AuditRecord[] =>
  records.filter((record) => isDecision(record) && record.source?.port === port)

export const closingsFrom = (records: readonly AuditRecord[], port: number): AuditRecord[] =>
  records.filter((record) => record.event.action === 'tunnel-closed' && record.source?.port === port)
