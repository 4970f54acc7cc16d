import { STAMP, type AuditRecord } from '../../src/audit/record.ts'

/** The text of a record between its level and its message, as a scribe writes it. */
export function fieldsText({ outer, event, own }: Pick<AuditRecord, 'outer' | 'event' | 'own'>): string {
  return `${outer},"event":{${event},${STAMP}${own}}`
}

/** What a reader finds in it. */
export function fieldsOf(record: Pick<AuditRecord, 'outer' | 'event' | 'own'>): Record<string, unknown> {
  return JSON.parse(`{${fieldsText(record).slice(1)}}`)
}
