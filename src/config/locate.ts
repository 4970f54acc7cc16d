/** Where in a YAML document a path of the configuration stands. */
import { isMap, isScalar, isSeq, type Document, type Node, type Pair } from 'yaml'

export type Path = readonly PropertyKey[]

/** The offset of the node at `path`, or of the nearest one above it that is written. */
export function locate(document: Document, path: Path, at: 'key' | 'value'): number {
  let node: Node | null | undefined = document.contents
  let offset = node?.range?.[0] ?? 0
  for (const [depth, step] of path.entries()) {
    const last = depth === path.length - 1
    if (isMap<Node, Node | null>(node)) {
      const pair: Pair<Node, Node | null> | undefined = node.items.find(
        (item) => isScalar(item.key) && item.key.value === step,
      )
      if (!pair) return offset
      const value = pair.value?.range
      // An empty value has no text of its own; point at its key.
      const empty = value === undefined || value === null || value[0] === value[1]
      offset = (last && at === 'key') || empty ? (pair.key.range?.[0] ?? offset) : value[0]
      node = pair.value
    } else if (isSeq<Node>(node) && typeof step === 'number') {
      node = node.items[step]
      offset = node?.range?.[0] ?? offset
    } else return offset
  }
  return offset
}

/** `policy.allow[0].host` */
export function formatPath(path: Path): string {
  return path
    .map((step, index) => (typeof step === 'number' ? `[${step}]` : `${index > 0 ? '.' : ''}${String(step)}`))
    .join('')
}
