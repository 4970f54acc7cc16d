/** What the chain needs of a record. */
import { z } from 'zod'

const recordShape = z.object({
  event: z.object({ sequence: z.int(), action: z.string() }),
  sallyport: z.object({
    prev: z.string(),
    lost: z.int().optional(),
    after: z.string().optional(),
    sink: z.string().optional(),
  }),
})
export type ChainRecord = z.infer<typeof recordShape>

/** Nothing where it is no record. */
export function readRecord(bytes: Buffer): ChainRecord | undefined {
  try {
    return recordShape.safeParse(JSON.parse(bytes.toString('utf8'))).data
  } catch {
    return undefined
  }
}
