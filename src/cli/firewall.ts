/** `sallyport firewall nftables`: the policy as a packet filter, with the addresses that DNS gives now. */
import { systemClock } from '../clock.ts'
import { formatIssue } from '../config/issue.ts'
import { policiesOf, type Config } from '../config/load.ts'
import { FIREWALL_DEFAULTS, firewallSchema, type FirewallConfig } from '../config/schema.ts'
import { Keeper } from '../firewall/keeper.ts'
import { elementsOf } from '../firewall/look-up.ts'
import { NftError, runNft } from '../firewall/nft.ts'
import { removeTable } from '../firewall/own-table.ts'
import { formatElements, formatReplacement, type Element } from '../firewall/ruleset.ts'
import { firewallTargets } from '../firewall/targets.ts'
import { lookUpAll, lookUpFor, noticesFor, rulesetOf, wildcardNotices } from './firewall-parts.ts'
import { watchFirewall } from './firewall-watch.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig, type ReadConfigResult } from './read-config.ts'
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

export async function firewall(options: FirewallOptions, io: Io): Promise<ExitCode> {
  const { say } = createReporter(io.stderr)
  const refuse = (problem: string): ExitCode => {
    say(problem)
    return EXIT.usage
  }
  const actions = (['print', 'apply', 'watch', 'remove'] as const).filter((action) => options[action])
  const [action = 'print', another] = actions
  if (another) return refuse(`--${action} and --${another} are two different things; choose one`)
  const readAgain = (): ReadConfigResult =>
    readConfig(options.config, options.allow ? { allow: options.allow } : {})
  const read = readAgain()
  if (read.kind !== 'config' && action !== 'remove') {
    if (read.kind === 'unreadable') return refuse(read.message)
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const named = read.kind === 'config' ? read.config.firewall : undefined
  const settings = withOptions(named ?? FIREWALL_DEFAULTS, options)
  if (typeof settings === 'string') return refuse(settings)
  try {
    if (read.kind !== 'config' || action === 'remove') {
      // Who is locked out by the rules has to get rid of them, whatever is wrong with the file.
      if (read.kind !== 'config') {
        const why =
          read.kind === 'unreadable' ? read.message : read.issues.slice(0, 1).map(formatIssue).join()
        say(`${why}; so this is about the table inet ${settings.table}, and --table names another`)
      }
      await removeTable(runNft, settings.table, 'policy')
      return EXIT.ok
    }
    const { config } = read
    const ruleset = rulesetOf(config, settings)
    const keeper = new Keeper({ nft: runNft, clock: systemClock, ruleset })
    for (const notice of noticesFor(ruleset)) say(notice)
    if (action === 'watch') {
      await watchFirewall({ config, file: options.config, read: readAgain, settings, keeper, say }, io)
      return EXIT.ok
    }
    return await once(action, config, keeper, say, io)
  } catch (error) {
    if (error instanceof NftError) return refuse(error.message)
    throw error
  }
}

async function once(
  action: 'print' | 'apply',
  config: Config,
  keeper: Keeper,
  say: (text: string) => void,
  io: Io,
): Promise<ExitCode> {
  const { ruleset } = keeper
  const { hosts, wildcards } = firewallTargets(policiesOf(config), systemClock.wallMs())
  for (const notice of wildcardNotices(wildcards)) say(notice)
  const found = await lookUpAll(hosts, lookUpFor(config))
  const elements: Element[] = []
  let missing = 0
  for (const [host, ports] of hosts) {
    const answer = found.get(host)
    if (answer?.kind === 'addresses') {
      elements.push(...elementsOf(answer, ports, ruleset.graceMs))
      if (answer.lacking !== undefined) say(`${host} is let in by half: ${answer.lacking}`)
    } else {
      missing += 1
      say(`${host} is not let in: ${answer?.why}`)
    }
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
