/** The last sixty minutes, counted by minute. */
import type { MinuteFigures } from './figures.ts'

const MINUTE_MS = 60_000
const KEPT = 60

interface Slot {
  minute: number
  allowed: number
  denied: number
  failed: number
}

export class Hour {
  /** One for each minute of an hour, used again and again. */
  readonly #slots: readonly Slot[] = Array.from({ length: KEPT }, () => ({
    minute: 0,
    allowed: 0,
    denied: 0,
    failed: 0,
  }))

  note(what: keyof MinuteFigures, nowMs: number): void {
    const minute = Math.floor(nowMs / MINUTE_MS)
    const slot = this.#slots[minute % KEPT]
    if (!slot) return
    if (slot.minute !== minute) {
      slot.minute = minute
      slot.allowed = 0
      slot.denied = 0
      slot.failed = 0
    }
    slot[what] += 1
  }

  /** Minutes in which anything was decided. */
  figures(nowMs: number): Readonly<Record<string, MinuteFigures>> {
    const now = Math.floor(nowMs / MINUTE_MS)
    const minutes: Record<string, MinuteFigures> = {}
    for (const { minute, ...counts } of this.#slots) {
      if (minute > now - KEPT && minute <= now) minutes[minute] = counts
    }
    return minutes
  }
}
