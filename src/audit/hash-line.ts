import { hash } from 'node:crypto'

/**
 * `sha256:…` of a line: of its bytes in UTF-8 without the newline, so that `tr -d '\n' | sha256sum` says the same.
 *
 * @param line with its newline or without
 */
export function hashLine(line: string | Buffer): string {
  const bare = typeof line === 'string' && line.endsWith('\n') ? line.slice(0, -1) : line
  return `sha256:${hash('sha256', bare, 'hex')}`
}
