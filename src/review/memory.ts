/** What the last review showed, so that the next one can put first what is new. Pure: the caller keeps the file. */
import { z } from 'zod'
import type { Group } from './aggregate.ts'

/** More would make the file grow without end; the longest unseen go first. */
const MAX_KNOWN = 50_000

const fileSchema = z.object({
  schema: z.literal(1),
  /** When the review was. */
  reviewedAt: z.iso.datetime(),
  /** `host port reason` to the last denial that a review has shown. */
  known: z.record(z.string(), z.unknown()),
})
const momentSchema = z.iso.datetime()
export interface Memory extends z.output<typeof fileSchema> {
  readonly known: Record<string, string>
}

/** Undefined for what no review has written. An entry that cannot be read is let go: its group is new again. */
export function parseMemory(text: string): Memory | undefined {
  let file
  try {
    file = fileSchema.safeParse(JSON.parse(text)).data
  } catch {
    return undefined
  }
  if (!file) return undefined
  const known = Object.entries(file.known).flatMap(([key, value]) => {
    const moment = momentSchema.safeParse(value)
    return moment.success ? [[key, moment.data] as const] : []
  })
  return { ...file, known: Object.fromEntries(known) }
}

export function memoryKey({ host, port, reason }: Group['fields']): string {
  return `${host ?? '-'} ${port ?? '-'} ${reason ?? '-'}`
}

/** Whether a group was seen before: never, before but it went on, or everything of it. */
export type News = 'new' | 'again' | 'seen'

export function newsOf(group: Group, known: ReadonlyMap<string, string> | undefined): News {
  if (!known) return 'new'
  const last = known.get(memoryKey(group.fields))
  if (last === undefined) return 'new'
  return group.last > Date.parse(last) ? 'again' : 'seen'
}

/** The memory after a review of these groups. What a record dates later than now would otherwise be seen for years. */
export function remember(memory: Memory | undefined, groups: readonly Group[], nowMs: number): Memory {
  const now = new Date(nowMs).toISOString()
  const known = new Map(
    Object.entries(memory?.known ?? {}).map(([key, last]) => [key, last < now ? last : now]),
  )
  for (const group of groups) {
    const key = memoryKey(group.fields)
    const last = new Date(Math.max(0, Math.min(group.last, nowMs))).toISOString()
    const before = known.get(key)
    if (before === undefined || before < last) known.set(key, last)
  }
  const kept = [...known].toSorted((a, b) => b[1].localeCompare(a[1])).slice(0, MAX_KNOWN)
  return { schema: 1, reviewedAt: now, known: Object.fromEntries(kept) }
}
