/**
 * What the audit trail has said lately. It sees every line on its way to the outputs, keeps the few that matter, and
 * passes them on to whoever watches. A line costs it a search for its action; nothing is parsed before somebody asks.
 */
import { actionAt, actionOf, AUDIT_ACTIONS } from '../audit/actions.ts'
import type { Counts } from '../metrics/figures.ts'

export type Watcher = (line: string, action: string) => void

/** Denials and the like that are kept. */
const KEPT = 500
/** How lines of tunnels that went well, and of the gate's own doings, begin; every other level is trouble. */
const ROUTINE = '{"log":{"level":"info"'
/** What of the trouble is about clients. */
const DENIALS = new Set([
  'tunnel-denied',
  'tunnel-failed',
  'tunnel-opened',
  'request-forwarded',
  'denials-folded',
])

export class Trail {
  /** Each from zero: for Prometheus, a counter that appears with its first event has not grown by it. */
  readonly #counts = new Map<string, number>(AUDIT_ACTIONS.map((action) => [action, 0]))
  readonly #kept: string[] = []
  #next = 0
  readonly #watchers = new Set<Watcher>()

  /** @param line with its number and its place in the chain */
  take(line: string): void {
    const action = actionOf(line, actionAt(line))
    this.#counts.set(action, (this.#counts.get(action) ?? 0) + 1)
    if (!line.startsWith(ROUTINE)) {
      this.#kept[this.#next] = line
      this.#next = (this.#next + 1) % KEPT
    }
    for (const watch of this.#watchers) watch(line, action)
  }

  /** Lines by action. */
  get counts(): Counts {
    return Object.fromEntries(this.#counts)
  }

  /** The last denials, failures and would-be denials, newest first. */
  denials(limit: number): readonly string[] {
    const newestFirst = [...this.#kept.slice(this.#next), ...this.#kept.slice(0, this.#next)].toReversed()
    return newestFirst.filter(isAboutClients).slice(0, limit)
  }

  /** Calls with each line from now on. Returns the end of it. */
  watch(watcher: Watcher): () => void {
    this.#watchers.add(watcher)
    return () => this.#watchers.delete(watcher)
  }
}

/** The end of a tunnel is a denial where its server name changed, and trouble also where its worker was lost. */
function isAboutClients(line: string): boolean {
  const action = actionOf(line, actionAt(line))
  return DENIALS.has(action) || (action === 'tunnel-closed' && line.includes('"reason":"sni_changed"'))
}
