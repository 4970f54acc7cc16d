/**
 * Keeps one table: puts it there, lets addresses in, and puts all of it back when somebody has flushed it; a table of the
 * same name that is not ours is left alone, and rejects. Transactions run one after another, and what comes while one runs goes together in the next.
 */
import type { Clock } from '../clock.ts'
import { NftError, type RunNft } from './nft.ts'
import { readStamp } from './own-table.ts'
import {
  formatElements,
  formatReplacement,
  formatTable,
  stampOf,
  type Element,
  type Ruleset,
} from './ruleset.ts'

export interface KeeperOptions {
  readonly nft: RunNft
  readonly clock: Clock
  readonly ruleset: Ruleset
}

/** When an element leaves the set, by this process's clock; a little early. */
interface Known {
  readonly element: Element
  readonly untilMs: number
}

/** The same answer, looked at again, is not worth a transaction. */
const SLACK_MS = 250

export class Keeper {
  readonly #nft: RunNft
  readonly #clock: Clock
  #ruleset: Ruleset
  readonly #until = new Map<string, Known>()
  #next: Element[] = []
  #coming: Promise<void> | undefined
  #running: Promise<unknown> = Promise.resolve()

  constructor({ nft, clock, ruleset }: KeeperOptions) {
    this.#nft = nft
    this.#clock = clock
    this.#ruleset = ruleset
  }

  /** Puts the table there with these elements, in one transaction. One of the same policy and settings keeps its own. */
  install(elements: readonly Element[] = []): Promise<void> {
    return this.#inTurn(async () => this.#transact(await this.#tableScript(), elements))
  }

  get ruleset(): Ruleset {
    return this.#ruleset
  }

  /**
   * Another ruleset in place of this one, with `more` elements; rejects with this one in force. Who is let in by another
   * policy is let in no longer than a dial under way needs, `lingerMs`: what the new one allows, too, is admitted again.
   * Answers with the way back, to the addresses of before as well.
   */
  change(ruleset: Ruleset, lingerMs: number, more: readonly Element[] = []): Promise<() => Promise<void>> {
    return this.#inTurn(async () => {
      const before = this.#ruleset
      const known = [...this.#until.values()]
      const longestMs = ruleset.policy === before.policy ? Infinity : lingerMs
      await this.#load(ruleset, [...this.#stillIn(known, longestMs), ...more])
      return () =>
        this.#inTurn(() =>
          this.#load(before, [...this.#stillIn(known), ...this.#stillIn(this.#until.values())]),
        )
    })
  }

  /** Settles when every element is in the kernel for at least as long as it says; none is ever shortened. */
  admit(elements: readonly Element[]): Promise<void> {
    const now = this.#clock.monotonicMs()
    const more = elements.filter((element) => {
      const known = this.#until.get(keyOf(element))
      return !known || known.untilMs + SLACK_MS < now + element.timeoutMs
    })
    if (more.length === 0) return Promise.resolve()
    this.#next.push(...more)
    this.#coming ??= this.#inTurn(() => {
      const batch = longest(this.#next)
      this.#next = []
      this.#coming = undefined
      return this.#send(batch)
    })
    return this.#coming
  }

  /**
   * Looks whether the table is still there, and puts it back if not, with all that is let in. Answers whether it had to.
   *
   * @param ruleset of the same policy: what else it depends on may have changed, such as the system's resolvers
   */
  mend(ruleset: Ruleset = this.#ruleset): Promise<boolean> {
    return this.#inTurn(async () => {
      if (await this.#isThere(ruleset)) return false
      await this.#load(ruleset, this.#stillIn(this.#until.values()))
      return true
    })
  }

  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#running.then(work)
    this.#running = done.catch(() => undefined)
    return done
  }

  async #send(elements: readonly Element[]): Promise<void> {
    try {
      await this.#transact('', elements)
    } catch (error) {
      if (!(error instanceof NftError)) throw error
      // Somebody has taken the table away, most likely.
      await this.#load(this.#ruleset, [...this.#stillIn(this.#until.values()), ...elements])
    }
  }

  /** Those that are still in, each with what is left of its lifetime. */
  #stillIn(known: Iterable<Known>, longestMs = Infinity): readonly Element[] {
    const now = this.#clock.monotonicMs()
    return [...known].flatMap(({ element: { address, port }, untilMs }) =>
      untilMs > now ? [{ address, port, timeoutMs: Math.min(untilMs - now, longestMs) }] : [],
    )
  }

  /** The table and everything that has to be in it; rejects with the ruleset of before. */
  async #load(ruleset: Ruleset, elements: readonly Element[]): Promise<void> {
    const before = this.#ruleset
    this.#ruleset = ruleset
    try {
      await this.#transact(await this.#tableScript(), longest(elements))
    } catch (error) {
      this.#ruleset = before
      throw error
    }
  }

  async #transact(script: string, elements: readonly Element[]): Promise<void> {
    const now = this.#clock.monotonicMs()
    const text = [script, formatElements(this.#ruleset.table, elements)].filter(Boolean).join('\n')
    if (text === '') return
    await this.#nft(['-f', '-'], `${text}\n`)
    for (const [key, { untilMs }] of this.#until) if (untilMs <= now) this.#until.delete(key)
    for (const element of elements) {
      this.#until.set(keyOf(element), { element, untilMs: now + element.timeoutMs })
    }
  }

  async #tableScript(): Promise<string> {
    return (await this.#isThere(this.#ruleset))
      ? formatTable(this.#ruleset)
      : formatReplacement(this.#ruleset)
  }

  async #isThere(ruleset: Ruleset): Promise<boolean> {
    return (await readStamp(this.#nft, ruleset.table, 'policy')) === stampOf(ruleset)
  }
}

function keyOf({ address, port }: Element): string {
  return `${address} ${port}`
}

/** Each address and port once, with the longest of its lifetimes. */
export function longest(elements: readonly Element[]): readonly Element[] {
  const found = new Map<string, Element>()
  for (const element of elements) {
    const key = keyOf(element)
    if ((found.get(key)?.timeoutMs ?? 0) < element.timeoutMs) found.set(key, element)
  }
  return [...found.values()]
}
