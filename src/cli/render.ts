/** `sallyport render TARGET`: the policy, written for another system. */
import type { Config } from '../config/load.ts'
import { formatListenAddress, parseListenAddress } from '../config/units.ts'
import { makePlan } from '../render/plan.ts'
import type { RenderOptions } from '../render/rendering.ts'
import { TARGETS } from '../render/targets.ts'
import { findClient } from './find-client.ts'
import { columns, EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export interface RenderCommand {
  readonly config?: string
  readonly allow?: readonly string[]
  readonly client?: string
  readonly redirect?: string
  readonly gateUid?: string
  readonly transparent?: string
}

/** The user of the container image. */
const GATE_UID = '65532'
const REDIRECTING = ['nftables', 'iptables']

export function render(name: string | undefined, command: RenderCommand, io: Io): ExitCode {
  const usage = (message: string): ExitCode => {
    io.stderr.write(`sallyport: ${message}\n`)
    return EXIT.usage
  }
  if (name === undefined) {
    io.stdout.write(columns([...TARGETS].map(([target, { summary }]) => [target, summary])))
    return EXIT.ok
  }
  const target = TARGETS.get(name)
  if (!target) return usage(`no target ${JSON.stringify(name)}; there are ${[...TARGETS.keys()].join(', ')}`)

  const read = readConfig(command.config, command.allow ? { allow: command.allow } : {})
  if (read.kind === 'unreadable') return usage(read.message)
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  const { config, file } = read
  const options = readOptions(command, config)
  if (typeof options === 'string') return usage(options)
  if (options.redirect !== undefined && !REDIRECTING.includes(name)) {
    return usage(`--redirect is for ${REDIRECTING.join(' and ')}; ${name} has nothing to redirect with`)
  }
  const client = findClient(config, command.client)
  if (client.kind !== 'policy') return usage(client.verdict.replace(/^sallyport: /, ''))
  const plan = makePlan({
    policy: client.policy,
    source: file,
    nowMs: Date.now(),
    dnsServers: config.dns.servers,
    permittedBlocks: config.addresses.allow.map(({ text }) => text),
    otherPolicies: config.clients.rules
      .filter(({ policy }) => policy.hash !== client.policy.hash)
      .map(({ name }) => name),
  })
  const rendering = target.render(plan, options)
  if (rendering.kind === 'impossible') {
    io.stderr.write(`sallyport: ${rendering.why}\n`)
    return EXIT.finding
  }
  io.stdout.write(rendering.text)
  return EXIT.ok
}

/** Where the documentation has it. */
const DEFAULT_TRANSPARENT = '127.0.0.1:3129'

function readOptions(command: RenderCommand, { listen }: Config): RenderOptions | string {
  const configured = listen.find((address) => address.transparent)
  const gateUid = parseUid(command.gateUid ?? GATE_UID)
  if (gateUid === undefined)
    return `--gate-uid ${command.gateUid}: write a numeric user id, such as ${GATE_UID}`
  const transparent = parseListenAddress(
    command.transparent ?? (configured ? formatListenAddress(configured) : DEFAULT_TRANSPARENT),
  )
  if (!transparent || transparent.port === 0) {
    return `--transparent ${command.transparent}: write the address of the transparent listener, such as 127.0.0.1:3129`
  }
  if (command.redirect === undefined) return { gateUid, transparent }
  const redirect = command.redirect === 'all' ? 'all' : parseUid(command.redirect)
  if (redirect === undefined) return `--redirect ${command.redirect}: write a numeric user id, or all`
  if (redirect === gateUid)
    return `--redirect ${redirect}: that is the gate's own user, which would be sent to itself`
  return { gateUid, transparent, redirect }
}

function parseUid(text: string): number | undefined {
  return /^(?:0|[1-9][0-9]{0,9})$/.test(text) && Number(text) < 2 ** 32 - 1 ? Number(text) : undefined
}
