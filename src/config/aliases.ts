/**
 * YAML aliases. In a list of hosts they are nearly always a wildcard that somebody forgot to quote: `*.example.com`
 * without quotes refers to an anchor named `.example.com`.
 */
import { visit, type Document } from 'yaml'

/** Aliases of a configuration that need writing out; more is an attempt to fill the memory. */
const MAX_ALIASES = 100

export function findBadAlias(
  document: Document,
): { readonly offset: number; readonly message: string } | undefined {
  const anchors = new Set<string>()
  let found: { offset: number; message: string } | undefined
  let count = 0
  visit(document, {
    Node(_, node) {
      if ('anchor' in node && typeof node.anchor === 'string') anchors.add(node.anchor)
    },
  })
  visit(document, {
    Alias(_, alias) {
      const offset = alias.range?.[0] ?? 0
      count += 1
      if (!anchors.has(alias.source)) {
        const message = `\`*${alias.source}\` without quotes is a YAML alias; quote it: \`'*${alias.source}'\``
        found = { offset, message }
      } else if (count > MAX_ALIASES) found = { offset, message: `more than ${MAX_ALIASES} YAML aliases` }
      return found ? visit.BREAK : undefined
    },
  })
  if (found || count === 0) return found
  try {
    document.toJS()
    return undefined
  } catch {
    // Few aliases can still stand for a great deal, each for several of the one before.
    return {
      offset: 0,
      message: 'the YAML aliases in this file stand for too much; write their contents out',
    }
  }
}
