/** YAML as the targets that take it want it: the heading as comments, documents one after another. */
import { stringify } from 'yaml'
import { comment, text, type Rendering } from './rendering.ts'

export function yamlText(lines: readonly string[], documents: readonly unknown[]): Rendering {
  return text(
    comment('#', lines),
    documents
      .map((document) => stringify(document, { lineWidth: 0, aliasDuplicateObjects: false }))
      .join('---\n'),
  )
}

/** For annotations: who made an object that has lost its comments. */
export function annotations(plan: { readonly hash: string; readonly date: string }): Record<string, string> {
  return { 'sallyport.dev/policy': plan.hash, 'sallyport.dev/rendered': plan.date }
}
