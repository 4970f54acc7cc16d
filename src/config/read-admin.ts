/**
 * `admin` alone, out of a file of which something else may be wrong; the defaults where even that cannot be read. A gate
 * goes on with what it has when its file is edited badly, and whoever asks after it has to find it then too.
 */
import { isNode, parseDocument } from 'yaml'
import { configSchema, type Settings } from './schema.ts'

const { admin } = configSchema.shape

export function readAdmin(text: string): Settings['admin'] {
  try {
    // Of a document with errors this is what could be made of it.
    const document = parseDocument(text, { logLevel: 'silent', stringKeys: true })
    const node = document.get('admin')
    const { data } = admin.safeParse(isNode(node) ? node.toJS(document) : undefined)
    if (data) return data
  } catch {
    // An alias that leads nowhere, or to too much.
  }
  return admin.parse(undefined)
}
