/**
 * Things that come and go, in no order. A Set would do, but for how V8 keeps one: each time its table is full of those
 * that have gone, there is a new table, and the old one points to the new. Once one of them has grown old, the whole
 * chain, with whatever was open when each was replaced, outlives every collection of the young: 2 KB for each tunnel that
 * ever was, until the next collection of everything.
 */
export interface Placed {
  /** Where a bag has it; of no meaning to anybody else. */
  place: number
}

export class Bag<T extends Placed> implements Iterable<T> {
  readonly #things: T[] = []

  get size(): number {
    return this.#things.length
  }

  add(thing: T): void {
    thing.place = this.#things.length
    this.#things.push(thing)
  }

  /** Does nothing where it is not in it. */
  remove(thing: T): void {
    if (this.#things[thing.place] !== thing) return
    const last = this.#things.pop()
    if (last === undefined || last === thing) return
    last.place = thing.place
    this.#things[thing.place] = last
  }

  /** Those that are in it now, whatever comes or goes meanwhile. */
  [Symbol.iterator](): Iterator<T> {
    return this.#things.slice().values()
  }
}
