/** Which keys the schema knows at a path, so that a misspelt one can be answered with the right one. */
import { z } from 'zod'

/** The keys of the object at `path` (empty for the root), or none when there is no object. */
export function knownKeysAt(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  const here = unwrap(schema)
  if (here instanceof z.ZodUnion) {
    return (
      here.options.map((option) => knownKeysAt(asType(option), path)).find((keys) => keys.length > 0) ?? []
    )
  }
  if (path.length === 0) return here instanceof z.ZodObject ? Object.keys(here.shape) : []
  const [key, ...rest] = path
  if (here instanceof z.ZodArray && typeof key === 'number') return knownKeysAt(asType(here.element), rest)
  if (here instanceof z.ZodObject && typeof key === 'string') {
    const child: unknown = here.shape[key]
    return child instanceof z.ZodType ? knownKeysAt(child, rest) : []
  }
  return []
}

/** Takes off defaults, nullability and transforms, down to the object or array inside. */
function unwrap(schema: z.ZodType): z.ZodType {
  // What a preprocessing step makes is described behind it; all other pipes by what goes in.
  if (schema instanceof z.ZodPipe) {
    return unwrap(asType(schema.in instanceof z.ZodTransform ? schema.out : schema.in))
  }
  if (
    schema instanceof z.ZodDefault ||
    schema instanceof z.ZodPrefault ||
    schema instanceof z.ZodOptional ||
    schema instanceof z.ZodNullable
  ) {
    return unwrap(asType(schema.unwrap()))
  }
  return schema
}

function asType(schema: unknown): z.ZodType {
  if (schema instanceof z.ZodType) return schema
  throw new TypeError('not a schema')
}
