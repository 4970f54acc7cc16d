/**
 * What a worker has recorded: how many of each kind, and which tunnels it has open. When it crashes, its totals are
 * known, and each tunnel it cut still gets its closing record. Lines are only searched, not parsed: inside a JSON string
 * each quote has a backslash before it, so a field's name between bare quotes is that field.
 */
import { actionAt, actionOf } from '../audit/actions.ts'
import type { Totals } from '../audit/scribe.ts'

const ID = '"id":"'
const FOLDED = '"folded":{"count":'

export class Tally {
  /**
   * Opening lines, and where each is by the id of its tunnel. Not in the map itself: what V8 keeps of a map's former tables
   * would keep them (proxy/bag.ts tells of that).
   */
  readonly #lines: string[] = []
  readonly #free: number[] = []
  readonly #open = new Map<string, number>()
  readonly #totals = { opened: 0, forwarded: 0, denied: 0, failed: 0, closed: 0 }

  get totals(): Totals {
    return { ...this.#totals }
  }

  /**
   * @param line as a scribe wrote it
   * @returns where in it the action stands; the ledger's stamp is behind that
   */
  note(line: string): number {
    const at = actionAt(line)
    if (at === -1) return 0
    switch (actionOf(line, at)) {
      case 'tunnel-opened':
        this.#totals.opened += 1
        this.#keep(idOf(line, at), line)
        break
      case 'tunnel-closed':
        this.#totals.closed += 1
        this.#drop(idOf(line, at))
        break
      case 'request-forwarded':
        this.#totals.forwarded += 1
        break
      case 'tunnel-denied':
        this.#totals.denied += 1
        break
      case 'tunnel-failed':
        this.#totals.failed += 1
        break
      case 'denials-folded': {
        const count = line.indexOf(FOLDED)
        if (count !== -1) this.#totals.denied += Number.parseInt(line.slice(count + FOLDED.length), 10)
      }
    }
    return at
  }

  /** The opening lines of all tunnels that are open, oldest first; none is, afterwards. */
  takeOpen(): readonly string[] {
    const lines = [...this.#open.values()].map((place) => this.#lines[place] ?? '')
    this.#open.clear()
    this.#lines.length = 0
    this.#free.length = 0
    return lines
  }

  #keep(id: string, line: string): void {
    const place = this.#free.pop() ?? this.#lines.length
    this.#lines[place] = line
    // A copy: a part of a line holds on to all of it.
    this.#open.set(` ${id}`.slice(1), place)
  }

  #drop(id: string): void {
    const place = this.#open.get(id)
    if (place === undefined) return
    this.#open.delete(id)
    this.#lines[place] = ''
    this.#free.push(place)
  }
}

function idOf(line: string, from: number): string {
  return textAfter(line, line.indexOf(ID, from) + ID.length)
}

/** What stands between `start` and the next quote. */
function textAfter(line: string, start: number): string {
  return line.slice(start, line.indexOf('"', start))
}
