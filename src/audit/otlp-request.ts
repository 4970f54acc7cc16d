/** Records as an OTLP logs request, JSON encoding (OpenTelemetry protocol 1.x, logs data model). Pure. */
import { z } from 'zod'

const SCOPE = 'sallyport.audit'
const SEVERITIES: Readonly<Record<string, { readonly number: number; readonly text: string }>> = {
  info: { number: 9, text: 'INFO' },
  warn: { number: 13, text: 'WARN' },
  error: { number: 17, text: 'ERROR' },
}

const record = z.looseObject({
  '@timestamp': z.string(),
  message: z.string(),
  log: z.object({ level: z.string() }),
  event: z.looseObject({ action: z.string() }),
  service: z.object({ name: z.string(), version: z.string(), node: z.object({ name: z.string() }) }),
})

type AnyValue =
  | { readonly stringValue: string }
  | { readonly boolValue: boolean }
  | { readonly intValue: string }
  | { readonly doubleValue: number }
  | { readonly arrayValue: { readonly values: readonly AnyValue[] } }
  | { readonly kvlistValue: { readonly values: readonly Attribute[] } }

interface Attribute {
  readonly key: string
  readonly value: AnyValue
}

/** @param lines all of one gate, as the sinks get them */
export function formatOtlpRequest(lines: readonly string[], nowMs: number): string {
  const records = lines.map((line) => ({ line, record: record.parse(JSON.parse(line)) }))
  const service = records[0]?.record.service
  return JSON.stringify({
    resourceLogs: [
      {
        resource: {
          attributes: [
            text('service.name', service?.name ?? ''),
            text('service.version', service?.version ?? ''),
            text('service.instance.id', service?.node.name ?? ''),
          ],
        },
        scopeLogs: [
          {
            scope: { name: SCOPE, version: service?.version ?? '' },
            logRecords: records.map(({ line, record }) => formatRecord(line, record, nowMs)),
          },
        ],
      },
    ],
  })
}

function formatRecord(line: string, parsed: z.output<typeof record>, nowMs: number) {
  const { '@timestamp': timestamp, message, log, service: _, ecs: __, ...fields } = parsed
  const severity = SEVERITIES[log.level]
  return {
    timeUnixNano: nanoseconds(Date.parse(timestamp)),
    observedTimeUnixNano: nanoseconds(nowMs),
    severityNumber: severity?.number ?? 0,
    severityText: severity?.text ?? log.level,
    eventName: parsed.event.action,
    body: { stringValue: message },
    // The line as it is, last: the chain is over its bytes.
    attributes: [...flatten('', fields), text('log.record.original', line.trimEnd())],
  }
}

/** `{event: {action}}` as `event.action`, as ECS names it. */
function flatten(prefix: string, fields: Readonly<Record<string, unknown>>): readonly Attribute[] {
  return Object.entries(fields).flatMap(([name, value]) => {
    const key = `${prefix}${name}`
    return isMapping(value) ? flatten(`${key}.`, value) : [{ key, value: toAnyValue(value) }]
  })
}

function toAnyValue(value: unknown): AnyValue {
  if (typeof value === 'string') return { stringValue: value }
  if (typeof value === 'boolean') return { boolValue: value }
  // 64-bit integers are strings in the protocol's JSON.
  if (typeof value === 'number')
    return Number.isSafeInteger(value) ? { intValue: `${value}` } : { doubleValue: value }
  if (Array.isArray(value)) return { arrayValue: { values: value.map(toAnyValue) } }
  if (isMapping(value)) {
    return {
      kvlistValue: {
        values: Object.entries(value).map(([key, inner]) => ({ key, value: toAnyValue(inner) })),
      },
    }
  }
  return { stringValue: String(value) }
}

function isMapping(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(key: string, value: string): Attribute {
  return { key, value: { stringValue: value } }
}

function nanoseconds(ms: number): string {
  return `${BigInt(Math.floor(ms)) * 1_000_000n}`
}
