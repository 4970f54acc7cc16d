/** The tables of docs/audit-log.md, made from the schema of the record that ships with the package. */
import { readFileSync } from 'node:fs'

/** The part of a JSON Schema that the record's uses. */
export interface Schema {
  readonly type?: string
  readonly properties?: Readonly<Record<string, Schema>>
  readonly items?: Schema
  readonly enum?: readonly string[]
  readonly additionalProperties?: boolean
  readonly description?: string
  readonly examples?: readonly unknown[]
  readonly 'x-ecs-type'?: string
  readonly 'x-on'?: string
  readonly 'x-unit'?: string
  /** Its words may change; nothing should depend on them. */
  readonly 'x-wording'?: boolean
}

export function readSchema(): Schema {
  const file = new URL('../../config/audit-record.schema.json', import.meta.url)
  return JSON.parse(readFileSync(file, 'utf8'))
}

/** Every field that has no fields of its own, by its path: `event.action`, `sallyport.dial[].ip`. */
export function fieldsOf(schema: Schema, prefix = ''): ReadonlyMap<string, Schema> {
  const fields = new Map<string, Schema>()
  for (const [name, inner] of Object.entries(schema.properties ?? {})) {
    const path = `${prefix}${name}`
    const [whole, mark] = inner.items?.properties ? [inner.items, '[].'] : [inner, '.']
    if (!whole.properties) fields.set(path, inner)
    for (const [below, field] of fieldsOf(whole, `${path}${mark}`)) fields.set(below, field)
  }
  return fields
}

/** The same of what a record has. */
export function fieldsIn(value: unknown, prefix = ''): readonly string[] {
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inner]: [string, unknown]) => {
    const path = `${prefix}${name}`
    if (Array.isArray(inner)) {
      const objects = inner.filter((item) => typeof item === 'object')
      return objects.length > 0 ? objects.flatMap((item) => fieldsIn(item, `${path}[].`)) : [path]
    }
    return typeof inner === 'object' && inner !== null ? fieldsIn(inner, `${path}.`) : [path]
  })
}

/** One row for each field; a text whose words may change has an asterisk. */
export function fieldRows(schema: Schema): readonly string[] {
  return [...fieldsOf(schema)].map(([path, field]) => {
    const list = field.type === 'array' ? '[]' : ''
    const type = `${field['x-ecs-type'] ?? ''}${list}${field['x-wording'] ? '\\*' : ''}`
    const example = `\`${shortened(JSON.stringify(field.examples?.[0]))}\``
    return `| \`${path}\` | ${type} | ${field['x-unit'] ?? ''} | ${field['x-on'] ?? ''} | ${example} | ${field.description ?? ''} |`.replace(
      / +/g,
      ' ',
    )
  })
}

function shortened(text: string): string {
  return text.length > 44 ? `${text.slice(0, 42)}…` : text
}

/** Rows between the markers, without the padding that a formatter adds. */
export function writtenFieldRows(markdown: string): readonly string[] {
  const [, table = ''] = /<!-- fields:start -->(.*)<!-- fields:end -->/s.exec(markdown) ?? []
  return table
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.trimEnd().replace(/ +/g, ' '))
}
