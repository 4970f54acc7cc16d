/** `sallyport firewall nftables --watch`: the table stays equal to DNS, to the configuration and to the system's resolvers. */
import { isDeepStrictEqual } from 'node:util'
import { systemClock } from '../clock.ts'
import { policiesOf, type Config } from '../config/load.ts'
import type { FirewallConfig } from '../config/schema.ts'
import type { Keeper } from '../firewall/keeper.ts'
import { elementsOf, type HostAddresses } from '../firewall/look-up.ts'
import type { Element } from '../firewall/ruleset.ts'
import { allowedNow, namedHosts, portsNow, type HostPorts } from '../firewall/targets.ts'
import { watchHosts } from '../firewall/watch.ts'
import type { Policy } from '../policy/rules.ts'
import {
  lookUpAll,
  lookUpFor,
  mendNowAndThen,
  noticesFor,
  rulesetOf,
  wildcardNotices,
  type LookUp,
} from './firewall-parts.ts'
import type { Io } from './io.ts'
import { DEFAULT_CONFIG_FILE, printIssues, type ReadConfigResult } from './read-config.ts'
import { FilesWatcher } from './watch-files.ts'

export interface FirewallWatchOptions {
  /** What it starts with. */
  readonly config: Config
  readonly file: string | undefined
  /** Reads the file anew, with the options of the command. */
  readonly read: () => ReadConfigResult
  /** Of `firewall` and of the command: for as long as it runs. */
  readonly settings: FirewallConfig
  readonly keeper: Keeper
  readonly say: (text: string) => void
}

/** Until a signal comes. The table stays: what guards must not vanish with its keeper. */
export async function watchFirewall(options: FirewallWatchOptions, io: Io): Promise<void> {
  const { keeper, settings, say } = options
  let current = options.config
  let stopAsking = (): void => undefined

  /** Every host that is allowed, asked for now. */
  async function survey(config: Config): Promise<Survey> {
    const policies = policiesOf(config)
    const { hosts: named, wildcards } = namedHosts(policies)
    for (const notice of wildcardNotices(wildcards)) say(notice)
    const look = lookUpFor(config)
    const allowed = allowedNow(policies, named, systemClock.wallMs())
    const found = await lookUpAll(allowed, look)
    const elements = [...allowed].flatMap(([host, ports]) => {
      const answer = found.get(host)
      return answer?.kind === 'addresses' ? elementsOf(answer, ports, settings.graceMs) : []
    })
    return { policies, named, look, found, elements }
  }

  function keepAsking({ policies, named, look, found }: Survey): void {
    stopAsking()
    stopAsking = watchHosts(
      {
        hosts: new Map(
          [...named].map(([host, ports]) => [
            host,
            () => portsNow(policies, host, ports, systemClock.wallMs()),
          ]),
        ),
        lookUp: look,
        admit: (elements) => keeper.admit(elements),
        clock: systemClock,
        graceMs: settings.graceMs,
        say,
      },
      found,
    )
  }

  async function reload(): Promise<void> {
    const read = options.read()
    if (read.kind !== 'config') {
      if (read.kind === 'unreadable') say(read.message)
      else printIssues(read.issues, read.text, io)
      say('not reloaded; the rules stay as they were')
      return
    }
    const next = read.config
    const surveyed = await survey(next)
    const before = current
    current = next
    try {
      await keeper.change(rulesetOf(next, settings), before.limits.dialTimeoutMs, surveyed.elements)
    } catch (error) {
      current = before
      say(`${error instanceof Error ? error.message : String(error)}; not reloaded`)
      return
    }
    keepAsking(surveyed)
    const restart = isDeepStrictEqual(next.firewall, before.firewall)
      ? ''
      : '; the keys under `firewall` need a restart'
    say(`reloaded: ${surveyed.found.size} hosts${restart}`)
    for (const notice of noticesFor(keeper.ruleset)) say(notice)
  }

  let reloading = Promise.resolve()
  // One after the other, the first of them after the start.
  const reloadInTurn = (): void => {
    reloading = reloading
      .then(() => ready)
      .then(reload)
      .catch((error: unknown) => say(error instanceof Error ? error.message : String(error)))
  }
  const signals = new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
    // A terminal that closes ends what runs in it; elsewhere it asks for a reload, as with the gate.
    process.on('SIGHUP', () => (io.stderr.isTTY ? resolve('SIGHUP') : reloadInTurn()))
  })
  const watcher = new FilesWatcher({
    paths: () => [options.file ?? DEFAULT_CONFIG_FILE],
    onChange: reloadInTurn,
    onTrouble: (why) => say(`changes of the file go unnoticed (${why}); send SIGHUP to reload`),
  })
  const ready = survey(current).then(async (surveyed) => {
    await keeper.install(surveyed.elements)
    keepAsking(surveyed)
  })
  await ready
  const stopMending = mendNowAndThen(keeper, () => rulesetOf(current, settings), say)
  const signal = await signals
  watcher.close()
  stopAsking()
  stopMending()
  say(
    `${signal}: the table inet ${settings.table} stays, and its addresses leave it as their time ends; to remove it: sallyport firewall nftables --remove`,
  )
}

interface Survey {
  readonly policies: readonly Policy[]
  /** Every host that a rule names, with its ports; whether it is allowed changes as rules expire. */
  readonly named: HostPorts
  readonly look: LookUp
  readonly found: ReadonlyMap<string, HostAddresses>
  readonly elements: readonly Element[]
}
