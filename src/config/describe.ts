/** Says what zod found in words that tell the reader what to write. */
import type { z } from 'zod'
import { editDistance } from '../policy/near-miss.ts'
import { knownKeysAt } from './known-keys.ts'
import type { Path } from './locate.ts'
import { configSchema } from './schema.ts'

export interface Description {
  readonly path: Path
  readonly message: string
  /** An unknown key is shown at the key, everything else at its value. */
  readonly at: 'key' | 'value'
}

export function describe(issue: z.core.$ZodIssue): readonly Description[] {
  const { path } = issue
  switch (issue.code) {
    case 'unrecognized_keys': {
      const known = knownKeysAt(configSchema, path)
      return issue.keys.map((key) => ({
        path: [...path, key],
        message: `unknown key${suggest(key, known)}; known here: ${known.join(', ')}`,
        at: 'key',
      }))
    }
    case 'invalid_value': {
      const values = issue.values.map((value) => `\`${String(value)}\``).join(' or ')
      return [{ path, message: `expected ${values}${found(issue.input)}`, at: 'value' }]
    }
    case 'invalid_type': {
      const own = issue.message.startsWith('Invalid input') ? undefined : issue.message
      const message = own ?? `expected ${TYPE_NAMES[issue.expected] ?? issue.expected}`
      return [{ path, message: `${message}${found(issue.input)}`, at: 'value' }]
    }
    case 'invalid_union': {
      // One shape of several: what was meant is the one that the written value could become.
      const meant = issue.errors.find(
        (inner) =>
          !inner.some(({ code, path }) => /^invalid_(?:type|value)$/.test(code) && path.length === 0),
      )
      return !meant
        ? [{ path, message: issue.message, at: 'value' }]
        : meant.flatMap((inner) => describe({ ...inner, path: [...path, ...inner.path] }))
    }
    case 'invalid_key':
      return [{ path, message: `\`${String(path.at(-1))}\` is not a hostname in lower case`, at: 'key' }]
    default:
      return [{ path, message: issue.message, at: 'value' }]
  }
}

const TYPE_NAMES: Record<string, string> = {
  object: 'a mapping (`key: value`)',
  array: 'a list (`[…]`, or lines that start with `-`)',
  record: 'a mapping (`key: value`)',
  boolean: '`true` or `false`',
  string: 'a text',
  int: 'a whole number',
  number: 'a number',
  null: 'null',
}

function found(input: unknown): string {
  if (input === undefined) return ', found nothing'
  if (input === null) return ', found nothing (an empty value)'
  return typeof input === 'object' ? '' : `, found \`${JSON.stringify(input).replace(/^"|"$/g, '')}\``
}

/** `; did you mean X?`: the nearest known word, when it is near for its length. */
function suggest(word: string, known: readonly string[]): string {
  const limit = Math.min(3, Math.floor(word.length / 2))
  const near = known
    .flatMap((candidate) => {
      const edits = editDistance(word.toLowerCase(), candidate.toLowerCase(), limit)
      return edits === undefined ? [] : [{ candidate, edits }]
    })
    .toSorted((a, b) => a.edits - b.edits)[0]
  return near === undefined ? '' : `; did you mean \`${near.candidate}\`?`
}
