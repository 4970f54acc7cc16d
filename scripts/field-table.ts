/** Writes the table of fields in docs/audit-log.md anew from the schema of the record: `npm run docs:fields`. */
import { readFileSync, writeFileSync } from 'node:fs'
import { fieldRows, readSchema } from '../test/support/field-table.ts'

const file = new URL('../docs/audit-log.md', import.meta.url)
const head = ['| Field | Type | Unit | On | Example | Meaning |', '| --- | --- | --- | --- | --- | --- |']
const table = [...head, ...fieldRows(readSchema())].join('\n')
const text = readFileSync(file, 'utf8')
const [before = '', rest = ''] = text.split('<!-- fields:start -->')
const [, after = ''] = rest.split('<!-- fields:end -->')
writeFileSync(file, `${before}<!-- fields:start -->\n\n${table}\n\n<!-- fields:end -->${after}`)
