/**
 * Whose a table is. Ours bear a stamp: an empty chain whose name says what the table is for, since comments of tables are
 * not listed by every nft. A table of the same name without one is somebody else's, and stays as it is.
 */
import { createHash } from 'node:crypto'
import { NftError, type RunNft } from './nft.ts'

/** `policy`: a filter. `redirect`: a way to the transparent listener. */
export type TableKind = 'policy' | 'redirect'

/** The same facts, the same stamp. */
export function makeStamp(kind: TableKind, facts: unknown): string {
  return `${kind}_${createHash('sha256').update(JSON.stringify(facts)).digest('hex').slice(0, 16)}`
}

/** Nothing where there is no such table; rejects with {@link NftError} where it is not ours. */
export async function readStamp(nft: RunNft, table: string, kind: TableKind): Promise<string | undefined> {
  const tables = await nft(['list', 'tables', 'inet'])
  if (!tables.split('\n').includes(`table inet ${table}`)) return undefined
  const listing = await nft(['-t', 'list', 'table', 'inet', table])
  const stamp = new RegExp(`^\\s*chain (${kind}_[0-9a-f]{16}) \\{`, 'm').exec(listing)?.[1]
  if (stamp === undefined)
    throw new NftError(
      `the table inet ${table} was not made by this command, and nothing was changed; choose another name`,
    )
  return stamp
}

/** Takes the table away, and with it every trace; none is there, none is taken. */
export async function removeTable(nft: RunNft, table: string, kind: TableKind): Promise<void> {
  if ((await readStamp(nft, table, kind)) !== undefined) await nft(['-f', '-'], `${formatRemoval(table)}\n`)
}

/** Adds the table first, so that deleting it cannot fail. */
export function formatRemoval(table: string): string {
  return `add table inet ${table}\ndelete table inet ${table}`
}
