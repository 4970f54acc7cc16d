/** Where a path leads, and by which links. */
import { lstatSync, readlinkSync } from 'node:fs'
import { dirname, isAbsolute, join, parse, sep } from 'node:path'

/** As many as Linux follows: more go round in circles. */
const MAX_LINKS = 40

const SEPARATOR = sep === '/' ? '/' : /[\\/]/

/**
 * Every link on the way to a file, and the file: what leads the path elsewhere changes an entry in one of their folders.
 * Where a part is missing the way ends with it, because it has to come first.
 */
export function placesOf(path: string): readonly string[] {
  const absolute = isAbsolute(path) ? path : process.cwd() + sep + path
  const links: string[] = []
  // Never has a link in it, so that `..` means what it means to the file system.
  let at = parse(absolute).root
  const ahead = partsOf(absolute)
  while (links.length < MAX_LINKS) {
    const part = ahead.shift()
    if (part === undefined) break
    const next = part === '..' ? dirname(at) : join(at, part)
    const entry = lookAt(next)
    if (entry.kind === 'link') {
      links.push(next)
      if (isAbsolute(entry.target)) at = parse(entry.target).root
      ahead.unshift(...partsOf(entry.target))
      continue
    }
    at = next
    if (entry.kind === 'missing') break
  }
  return [...links, at]
}

const DENIED: ReadonlySet<string> = new Set(['ERR_ACCESS_DENIED', 'EACCES', 'EPERM'])

/** The names in a path, after its root. */
function partsOf(path: string): string[] {
  const names = path.slice(parse(path).root.length).split(SEPARATOR)
  return names.filter((name) => name !== '' && name !== '.')
}

type Entry = { readonly kind: 'link'; readonly target: string } | { readonly kind: 'other' | 'missing' }

function lookAt(path: string): Entry {
  try {
    if (!lstatSync(path).isSymbolicLink()) return { kind: 'other' }
    return { kind: 'link', target: readlinkSync(path) }
  } catch (error) {
    // What may not be looked at, such as folders under the permission model, is there all the same; taken for no link.
    const denied = error instanceof Error && 'code' in error && DENIED.has(String(error.code))
    return { kind: denied ? 'other' : 'missing' }
  }
}
