/**
 * What a worker has recorded: how many of each kind, and which tunnels it has open. When it crashes, its totals are
 * known, and each tunnel it cut still gets its closing record. Lines are only searched, not parsed: inside a JSON string
 * each quote has a backslash before it, so a field's name between bare quotes is that field.
 */
import type { Totals } from '../audit/scribe.ts'

const ACTION = '"action":"'
const ID = '"id":"'
const FOLDED = '"folded":{"count":'

export class Tally {
  /** Opening lines, by the id of their tunnel. */
  readonly #open = new Map<string, string>()
  readonly #totals = { opened: 0, forwarded: 0, denied: 0, failed: 0, closed: 0 }

  get totals(): Totals {
    return { ...this.#totals }
  }

  /** @param line as a scribe wrote it */
  note(line: string): void {
    const at = line.indexOf(ACTION)
    if (at === -1) return
    switch (textAfter(line, at + ACTION.length)) {
      case 'tunnel-opened':
        this.#totals.opened += 1
        this.#open.set(idOf(line, at), line)
        return
      case 'tunnel-closed':
        this.#totals.closed += 1
        this.#open.delete(idOf(line, at))
        return
      case 'request-forwarded':
        this.#totals.forwarded += 1
        return
      case 'tunnel-denied':
        this.#totals.denied += 1
        return
      case 'tunnel-failed':
        this.#totals.failed += 1
        return
      case 'denials-folded': {
        const count = line.indexOf(FOLDED)
        if (count !== -1) this.#totals.denied += Number.parseInt(line.slice(count + FOLDED.length), 10)
      }
    }
  }

  /** The opening lines of all tunnels that are open, oldest first; none is, afterwards. */
  takeOpen(): readonly string[] {
    const lines = [...this.#open.values()]
    this.#open.clear()
    return lines
  }
}

function idOf(line: string, from: number): string {
  return textAfter(line, line.indexOf(ID, from) + ID.length)
}

/** What stands between `start` and the next quote. */
function textAfter(line: string, start: number): string {
  return line.slice(start, line.indexOf('"', start))
}
