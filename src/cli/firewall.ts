/** `sallyport firewall nftables`: the policy as a packet filter, with the addresses that DNS gives now. */
import { getServers } from 'node:dns'
import { systemClock } from '../clock.ts'
import { policiesOf, type Config } from '../config/load.ts'
import { FIREWALL_DEFAULTS, firewallSchema, type FirewallConfig } from '../config/schema.ts'
import { createQuery } from '../dns/query.ts'
import { Keeper } from '../firewall/keeper.ts'
import { elementsOf, lookUp, type HostAddresses } from '../firewall/look-up.ts'
import { NftError, runNft } from '../firewall/nft.ts'
import {
  formatElements,
  formatReplacement,
  parseServer,
  type Element,
  type Ruleset,
} from '../firewall/ruleset.ts'
import { firewallTargets } from '../firewall/targets.ts'
import { watchHosts } from '../firewall/watch.ts'
import { createGuard } from '../proxy/guard.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'
import { createReporter } from './reporter.ts'

export interface FirewallOptions {
  readonly config?: string
  readonly allow?: readonly string[]
  readonly print?: boolean
  readonly apply?: boolean
  readonly watch?: boolean
  readonly remove?: boolean
  readonly user?: readonly string[]
  readonly interface?: readonly string[]
  readonly resolver?: readonly string[]
  readonly ingress?: string
  readonly grace?: string
  readonly log?: boolean
  readonly table?: string
}

/** How often `--watch` looks whether the table is still there. */
export const MEND_EVERY_MS = 15_000

export async function firewall(options: FirewallOptions, io: Io): Promise<ExitCode> {
  const { say } = createReporter(io.stderr)
  const refuse = (problem: string): ExitCode => {
    say(problem)
    return EXIT.usage
  }
  const actions = (['print', 'apply', 'watch', 'remove'] as const).filter((action) => options[action])
  const [action = 'print', another] = actions
  if (another) return refuse(`--${action} and --${another} are two different things; choose one`)
  const read = readConfig(options.config, options.allow ? { allow: options.allow } : {})
  if (read.kind === 'unreadable') return refuse(read.message)
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const { config } = read
  const settings = withOptions(config.firewall ?? FIREWALL_DEFAULTS, options)
  if (typeof settings === 'string') return refuse(settings)
  const ruleset = rulesetOf(config, settings)
  const keeper = new Keeper({ nft: runNft, clock: systemClock, ruleset })
  try {
    if (action === 'remove') {
      await keeper.remove()
      return EXIT.ok
    }
    for (const notice of noticesFor(ruleset)) say(notice)
    return await keepUp(action, { config, ruleset, keeper, say }, io)
  } catch (error) {
    if (error instanceof NftError) return refuse(error.message)
    throw error
  }
}

interface Work {
  readonly config: Config
  readonly ruleset: Ruleset
  readonly keeper: Keeper
  readonly say: (text: string) => void
}

async function keepUp(action: 'print' | 'apply' | 'watch', work: Work, io: Io): Promise<ExitCode> {
  const { config, ruleset, keeper, say } = work
  const { hosts, wildcards } = firewallTargets(policiesOf(config), systemClock.wallMs())
  for (const rule of wildcards) {
    say(
      `${rule}: nobody can list its hosts; only the gate itself (firewall: nftables) lets them in, as it dials them`,
    )
  }
  const look = lookUpFor(config)
  const found = new Map<string, HostAddresses>()
  await Promise.all([...hosts].map(async ([host, ports]) => found.set(host, await look(host, ports))))
  const elements: Element[] = []
  let missing = 0
  for (const [host, answer] of found) {
    // The watch says what is missing, too, and when it changes.
    const tell = (text: string): void => void (action !== 'watch' && say(text))
    if (answer.kind === 'addresses') {
      elements.push(...elementsOf(answer, hosts.get(host) ?? [], ruleset.graceMs))
      if (answer.lacking !== undefined) tell(`${host} is let in by half: ${answer.lacking}`)
    } else {
      missing += 1
      tell(`${host} is not let in: ${answer.why}`)
    }
  }
  if (action === 'watch') {
    await keeper.install(elements)
    await watch(work, hosts, look, found)
    return EXIT.ok
  }
  if (action === 'print')
    io.stdout.write(`${formatReplacement(ruleset)}\n${formatElements(ruleset.table, elements)}\n`)
  else if (elements.length === 0) {
    say('no host has an address, so everything would be dropped; nothing was changed')
    return EXIT.finding
  } else {
    await keeper.install(elements)
    say(`table inet ${ruleset.table}: ${elements.length} addresses of ${hosts.size - missing} hosts`)
  }
  return missing === 0 ? EXIT.ok : EXIT.finding
}

/** Until a signal comes. The table stays: what guards must not vanish with its keeper. */
async function watch(
  { keeper, ruleset, say }: Work,
  hosts: ReadonlyMap<string, readonly number[]>,
  look: (host: string, ports: readonly number[]) => Promise<HostAddresses>,
  found: ReadonlyMap<string, HostAddresses>,
): Promise<void> {
  const { graceMs, table } = ruleset
  const admit = (elements: readonly Element[]): Promise<void> => keeper.admit(elements)
  const stop = watchHosts({ hosts, lookUp: look, admit, clock: systemClock, graceMs, say }, found)
  const stopMending = mendNowAndThen(keeper, table, say)
  const signal = await new Promise<string>((resolve) => {
    for (const name of ['SIGTERM', 'SIGINT'] as const) process.once(name, resolve)
  })
  stop()
  stopMending()
  say(
    `${signal}: the table inet ${table} stays, and its addresses leave it as their time ends; to remove it: sallyport firewall nftables --remove`,
  )
}

/** Rules are flushed by others now and then, such as when the system's own ruleset is loaded anew. */
export function mendNowAndThen(keeper: Keeper, table: string, say: (text: string) => void): () => void {
  let broken = false
  const timer = setInterval(() => {
    keeper.mend().then(
      (mended) => {
        broken = false
        if (mended) say(`the table inet ${table} was gone or changed by another; it is back`)
      },
      (error: unknown) => {
        if (!broken) say(error instanceof Error ? error.message : String(error))
        broken = true
      },
    )
  }, MEND_EVERY_MS)
  return () => clearInterval(timer)
}

export function rulesetOf(config: Config, { resolvers, ...settings }: FirewallConfig): Ruleset {
  const asked = config.dns.servers.length > 0 ? config.dns.servers : getServers()
  const policy = policiesOf(config)
    .map(({ hash }) => hash)
    .join(' ')
  return { ...settings, servers: [...new Set([...asked, ...resolvers])], policy }
}

/** A resolver on this machine passes questions on, and its packets are filtered like all others. */
export function noticesFor({ users, interfaces, servers }: Ruleset): readonly string[] {
  const local = servers.filter((server) => /^(?:127\.|::1$)/.test(parseServer(server).address))
  if (users.length > 0 || interfaces.length > 0 || local.length < servers.length) return []
  return [
    `the resolver ${local.join(', ')} is on this machine; name the servers that it asks itself with firewall.resolvers or --resolver, or no name can be resolved`,
  ]
}

function lookUpFor(config: Config): (host: string, ports: readonly number[]) => Promise<HostAddresses> {
  const query = createQuery(config.dns)
  const guard = createGuard({
    allow: config.addresses.allow,
    clock: systemClock,
    listeners: () => config.listen.map(({ host, port }) => ({ address: host, port })),
  })
  const options = { query, guard, staticHosts: config.dns.hosts, maxTtlMs: config.dns.maxTtlMs }
  return (host, ports) => lookUp(host, ports, options)
}

/** What the options of the command say instead of the file. */
function withOptions(settings: FirewallConfig, options: FirewallOptions): FirewallConfig | string {
  const said = {
    type: 'nftables',
    ...(options.user && { users: options.user }),
    ...(options.interface && { interfaces: options.interface }),
    ...(options.resolver && { resolvers: options.resolver }),
    ...(options.ingress !== undefined && { ingress: options.ingress }),
    ...(options.grace !== undefined && { grace: options.grace }),
    ...(options.log && { log: true }),
    ...(options.table !== undefined && { table: options.table }),
  }
  const parsed = firewallSchema.safeParse(said)
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    const option = { users: 'user', interfaces: 'interface', resolvers: 'resolver' }[String(issue?.path[0])]
    return `--${option ?? String(issue?.path[0] ?? 'user')}: ${issue?.message ?? 'not understood'}`
  }
  const { data } = parsed
  return {
    ...settings,
    ...(options.user && { users: data.users }),
    ...(options.interface && { interfaces: data.interfaces }),
    ...(options.resolver && { resolvers: data.resolvers }),
    ...(options.ingress !== undefined && { ingress: data.ingress }),
    ...(options.grace !== undefined && { graceMs: data.graceMs }),
    ...(options.log && { log: true }),
    ...(options.table !== undefined && { table: data.table }),
  }
}
