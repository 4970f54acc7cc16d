/** Reload: reads the configuration anew and puts it in force whole, or keeps the old one and says why. */
import type { Audit } from '../audit/journal.ts'
import { compareConfigs, type ConfigChange } from '../config/compare.ts'
import { formatIssue } from '../config/issue.ts'
import type { Config } from '../config/load.ts'
import type { RevokedTunnel } from '../workers/protocol.ts'
import { configuredFiles, findFileProblem } from './configured-files.ts'
import type { ReadConfigResult } from './read-config.ts'
import type { RunningGate } from './running-gate.ts'

/** What asked for it. */
export type ReloadTrigger = 'signal' | 'file' | 'admin'

export type ReloadReport = ReloadSuccess | ReloadFailure

export interface ReloadSuccess extends ConfigChange {
  readonly ok: true
  /** Hashes of the common policy, as in the records. */
  readonly policy: string
  readonly previous: string
  /** Open tunnels that the new policy would refuse. */
  readonly revoked: {
    readonly count: number
    readonly action: 'kept' | 'closed'
    /** The first of them. */
    readonly tunnels: readonly RevokedTunnel[]
  }
}

export interface ReloadFailure {
  readonly ok: false
  /** What is wrong, as `sallyport validate` says it. */
  readonly issues: readonly string[]
}

export interface ReloaderOptions {
  /** What the gate started with. */
  readonly config: Config
  /** Reads the file, with the overrides of the command line. */
  readonly read: () => ReadConfigResult
  readonly gate: Pick<RunningGate, 'reload'>
  readonly audit: Pick<Audit, 'record'>
  readonly say: (text: string) => void
}

/** A record is for reading; the file says the rest. */
const MAX_LISTED = 64

export class Reloader {
  /** {@link files} has others; called before they are read. */
  onFiles: () => void = () => undefined
  readonly #options: ReloaderOptions
  #current: Config
  #attempted: Config
  #readMs = Date.now()
  #failure: ReloadFailure | undefined
  #last: Promise<unknown> = Promise.resolve()

  constructor(options: ReloaderOptions) {
    this.#options = options
    this.#current = options.config
    this.#attempted = options.config
  }

  /** What is in force. */
  get config(): Config {
    return this.#current
  }

  /** What is named by the configuration in force, and by one that was tried and is not: mending its files mends it. */
  get files(): readonly string[] {
    return [...new Set([this.#current, this.#attempted].flatMap(configuredFiles))]
  }

  /** When it was read, by the wall clock. */
  get readMs(): number {
    return this.#readMs
  }

  /** Why the last reload failed; nothing when it did not, and before the first. */
  get failure(): ReloadFailure | undefined {
    return this.#failure
  }

  /** One after the other, each reading anew. Never rejects. */
  reload(trigger: ReloadTrigger): Promise<ReloadReport> {
    const next = this.#last.then(() => this.#reload(trigger))
    this.#last = next
    return next
  }

  async #reload(trigger: ReloadTrigger): Promise<ReloadReport> {
    try {
      const read = this.#options.read()
      this.#attempted = read.kind === 'config' ? read.config : this.#current
      this.onFiles()
      if (read.kind === 'unreadable') return this.#fail(trigger, [read.message])
      if (read.kind === 'invalid') return this.#fail(trigger, read.issues.map(formatIssue))
      const problem = findFileProblem(read.config)
      if (problem !== undefined) return this.#fail(trigger, [problem])
      const { count, listed } = await this.#options.gate.reload(read)
      const before = this.#current
      this.#current = read.config
      this.#readMs = Date.now()
      const action = read.config.onRevoke === 'close' ? 'closed' : 'kept'
      return this.#succeed(trigger, {
        ok: true,
        policy: read.config.policy.hash,
        previous: before.policy.hash,
        ...compareConfigs(before, read.config, this.#options.config, this.#readMs),
        revoked: { count, action, tunnels: listed },
      })
    } catch (error) {
      return this.#fail(trigger, [error instanceof Error ? error.message : String(error)])
    }
  }

  #succeed(trigger: ReloadTrigger, report: ReloadSuccess): ReloadReport {
    const { policy, previous, added, removed, changed, clients, restart, revoked } = report
    this.#failure = undefined
    const message = formatSuccess(report)
    this.#options.audit.record({
      kind: 'gate',
      action: 'gate-reloaded',
      message,
      policyHash: policy,
      mode: this.#current.policy.mode,
      facts: {
        trigger,
        previous,
        added: added.slice(0, MAX_LISTED),
        removed: removed.slice(0, MAX_LISTED),
        ...(changed.length > 0 && { changed: changed.slice(0, MAX_LISTED) }),
        ...(clients.length > 0 && { clients: clients.slice(0, MAX_LISTED) }),
        ...(restart.length > 0 && { restart }),
        revoked,
      },
    })
    this.#options.say(message)
    return report
  }

  #fail(trigger: ReloadTrigger, issues: readonly string[]): ReloadReport {
    const { audit, say } = this.#options
    this.#failure = { ok: false, issues }
    const message = `not reloaded, the policy stays as it was: ${issues[0] ?? ''}`
    audit.record({
      kind: 'gate',
      action: 'gate-reload-failed',
      message,
      policyHash: this.#current.policy.hash,
      mode: this.#current.policy.mode,
      facts: { trigger, issues: issues.slice(0, MAX_LISTED) },
    })
    for (const issue of issues) say(issue)
    say('not reloaded; the policy stays as it was')
    return this.#failure
  }
}

function formatSuccess(report: ReloadSuccess): string {
  const { policy, previous, added, removed, changed, clients, restart, revoked } = report
  const changes = [
    ...(added.length > 0 ? [`added ${sample(added)}`] : []),
    ...(removed.length > 0 ? [`removed ${sample(removed)}`] : []),
    ...(changed.length > 0 ? [sample(changed, ', ')] : []),
    ...(clients.length > 0 ? [`changed for clients ${sample(clients)}`] : []),
    ...(revoked.count > 0 ? [`${revoked.count} open tunnels it would refuse ${revoked.action}`] : []),
    ...(restart.length > 0 ? [`needs a restart for ${restart.join(', ')}`] : []),
  ]
  const what = policy === previous ? 'reloaded, the same policy' : 'reloaded'
  return changes.length > 0 ? `${what}: ${changes.join('; ')}` : what
}

function sample(texts: readonly string[], between = ' '): string {
  const more = texts.length - 3
  const first = texts.slice(0, 3).join(between)
  return more > 0 ? `${first} and ${more} more` : first
}
