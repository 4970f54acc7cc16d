/** The command line. Returns an exit code; only `bin/` ends the process. */
import { Command, CommanderError } from 'commander'
import { EXIT, type ExitCode, type Io } from './io.ts'
import type { AuditVerifyOptions } from './audit-verify.ts'
import type { DoctorOptions } from './doctor.ts'
import type { FirewallOptions } from './firewall.ts'
import type { ExplainOptions } from './explain.ts'
import type { HealthcheckOptions } from './healthcheck.ts'
import type { PresetsOptions } from './presets.ts'
import type { RenderCommand } from './render.ts'
import type { RedirectOptions } from './redirect.ts'
import type { ReviewOptions } from './review.ts'
import type { ServeOptions } from './serve.ts'
import { readVersion } from './version.ts'

/** @param argv the arguments after the program's name */
export async function main(argv: readonly string[], io: Io = process): Promise<number> {
  let code: ExitCode = EXIT.ok
  const program = new Command('sallyport')
    .description('Forward HTTPS proxy that lets out only what a written document allows.')
    .version(readVersion())
    .showHelpAfterError('(see sallyport --help)')
    .configureOutput({ writeOut: (text) => io.stdout.write(text), writeErr: (text) => io.stderr.write(text) })
    .exitOverride()

  // Each command is loaded when it is called: the gate's start does not pay for the others.
  program
    .command('serve', { isDefault: true })
    .description('run the proxy (the default command)')
    .option('-c, --config <file>', 'configuration (default: the bundled config/sallyport.yaml)')
    .option('-l, --listen <address>', 'listen here instead, such as 127.0.0.1:3128')
    .option('--allow <host>', 'allow one more host on port 443; may be repeated', collect)
    .action(async (options: ServeOptions) => {
      const { serve } = await import('./serve.ts')
      code = await serve(options, io)
    })
  program
    .command('worker', { hidden: true })
    .description('one of several processes of serve; started by it')
    .action(async () => {
      const { worker } = await import('./worker.ts')
      code = await worker(io)
    })
  program
    .command('validate')
    .argument('[file]', 'configuration (default: the bundled one)')
    .description('check a configuration; every issue with file:line:column')
    .option('--json', 'print the issues as JSON')
    .action(async (file: string | undefined, options: { json?: boolean }) => {
      const { validate } = await import('./validate.ts')
      code = validate(file, options, io)
    })
  program
    .command('explain')
    .argument('<host[:port]>', 'the target of a CONNECT; the port is 443 if left out')
    .description('show step by step what the gate would decide, and why')
    .option('-c, --config <file>', 'configuration (default: the bundled one)')
    .option('--allow <host>', 'as for serve', collect)
    .option(
      '--client <address|name>',
      'decide for this client: its address, or the name of a rule in clients.rules',
    )
    .option('--live', 'ask the gate that runs with this configuration, at its admin listener')
    .option('--json', 'print decision and steps as JSON')
    .action(async (target: string, options: ExplainOptions) => {
      code = options.live
        ? await (await import('./explain-live.ts')).explainLive(target, options, io)
        : (await import('./explain.ts')).explain(target, options, io)
    })
  program
    .command('doctor')
    .argument('[host[:port]...]', 'probe these instead of every host that a rule names')
    .description('probe the allowed hosts (DNS, TCP, TLS, HTTP), and say who has to mend what')
    .option('-c, --config <file>', 'configuration (default: the bundled one)')
    .option('--allow <host>', 'as for serve', collect)
    .option('--via <url>', 'go through this proxy, such as http://proxy:3128')
    .option('--timeout <duration>', 'for the whole run (default: 60s)')
    .option('--json', 'print the report as JSON')
    .action(async (hosts: readonly string[], options: DoctorOptions) => {
      const { doctor } = await import('./doctor.ts')
      code = await doctor(hosts, options, io)
    })
  program
    .command('render')
    .argument('[target]', 'for what; without it, the targets are listed')
    .description('write the same policy for another system: nftables, squid, cilium, a change request, …')
    .option('-c, --config <file>', 'configuration (default: the bundled one)')
    .option('--allow <host>', 'as for serve', collect)
    .option('--client <address|name>', 'as for explain')
    .option(
      '--redirect <uid|all>',
      'nftables, iptables: send the TLS of this user to the transparent listener',
    )
    .option('--gate-uid <uid>', 'nftables, iptables: the user the gate runs as (default: 65532)')
    .option(
      '--transparent <address>',
      'where the transparent listener is (default: as configured, else 127.0.0.1:3129)',
    )
    .action(async (target: string | undefined, options: RenderCommand) => {
      const { render } = await import('./render.ts')
      code = render(target, options, io)
    })
  program
    .command('review')
    .argument(
      '[file...]',
      'audit logs, also compressed; - is standard input (default: audit.file of the configuration)',
    )
    .description('what was denied, why, since when and by whom; the news first')
    .option('-c, --config <file>', 'configuration (default: the bundled one)')
    .option('--since <time>', 'from here on: 2026-11-23, 2026-11-23T08:00, or 24h ago')
    .option('--until <time>', 'up to here')
    .option('--client <address>', 'only this client: an address, a block or a user; may be repeated', collect)
    .option('--host <host>', 'only this host, or *.x for the subdomains of x; may be repeated', collect)
    .option('--reason <code>', 'only this reason; may be repeated', collect)
    .option('--group-by <fields>', 'of host,port,reason,client,user,node (default: host,port,reason)')
    .option('--would-deny', 'review what mode report let through, too')
    .option('--expected <file>', 'YAML list of denials that are meant to be')
    .option('--fail-on <what>', 'new: exit code 1 when a denial is not expected')
    .option('--json', 'print the review as JSON')
    .option('--csv', 'print the groups as CSV')
    .option('--html <out>', 'write a page with charts, in one file')
    .option('--suggest <out>', 'write a policy patch for what looks legitimate')
    .option('-f, --follow', 'go on with each denial as it comes, across rotation')
    .option('--limit <n>', 'groups in the table; 0 for all (default: 50)')
    .option('--no-memory', 'do not remember this review for the next one')
    .action(async (files: readonly string[], options: ReviewOptions) => {
      const { review } = await import('./review.ts')
      code = await review(files, options, io)
    })
  program
    .command('healthcheck')
    .description('ask the running gate whether it is ready (exit code 0) or not (1)')
    .option('-c, --config <file>', 'its configuration, which says where its admin listener is')
    .option('--live', 'ask whether it lives, ready or not')
    .action(async (options: HealthcheckOptions) => {
      const { healthcheck } = await import('./healthcheck.ts')
      code = await healthcheck(options, io)
    })

  const presets = program.command('presets').description('the dated host lists that ship with the program')
  presets
    .command('list', { isDefault: true })
    .description('all presets, oldest first')
    .option('--json', 'as JSON')
    .action(async (options: PresetsOptions) => {
      code = (await import('./presets.ts')).listPresets(options, io)
    })
  presets
    .command('show')
    .argument('<name>')
    .description('the hosts of a preset, with ports and what they are for')
    .option('--json', 'as JSON')
    .action(async (name: string, options: PresetsOptions) => {
      code = (await import('./presets.ts')).showPreset(name, options, io)
    })
  presets
    .command('diff')
    .argument('<a>')
    .argument('<b>')
    .description('what changes from preset a to preset b (exit code 1 when anything does)')
    .option('--json', 'as JSON')
    .action(async (a: string, b: string, options: PresetsOptions) => {
      code = (await import('./presets.ts')).showPresetDiff(a, b, options, io)
    })

  const audit = program.command('audit').description('the audit trail')
  audit
    .command('verify')
    .argument('<file...>', 'audit files, plain, gzip or zstd, oldest first')
    .description('follow the hash chain through the files, and name the first bad record')
    .option('--head <hash>', 'a hash that was noted before: it has to be in the chain')
    .option('--from <hash|start>', 'the chain has to begin behind this hash, or with the first record ever')
    .option('--sink <name>', 'sallyport.sink of what wrote this trail (default: the audit file)')
    .option('--json', 'print the verdict as JSON')
    .action(async (files: readonly string[], options: AuditVerifyOptions) => {
      const { auditVerify } = await import('./audit-verify.ts')
      code = await auditVerify(files, options, io)
    })

  program
    .command('passwd')
    .argument('<user>')
    .description(
      'make a line for the file that clients.passwords names, of a password read from standard input',
    )
    .option('--generate', 'make the password too, and print it to standard error')
    .action(async (user: string, options: { generate?: boolean }) => {
      const { passwd } = await import('./passwd.ts')
      code = await passwd(user, options, io)
    })

  const packetFilter = program
    .command('firewall')
    .description('the same policy as a packet filter, with the addresses that DNS gives now')
  packetFilter
    .command('nftables')
    .description(
      'a table of nftables; settings come from `firewall` in the configuration, and from the options',
    )
    .option('-c, --config <file>', 'configuration (default: the bundled one)')
    .option('--allow <host>', 'as for serve', collect)
    .option('--print', 'show the rules, and load nothing (the default)')
    .option('--apply', 'load them, with the addresses of now')
    .option('--watch', 'load them, and keep them equal to DNS until stopped')
    .option('--remove', 'take the table away')
    .option(
      '--user <name>',
      'filter only what this user sends (default: all that this machine sends)',
      collect,
    )
    .option('--interface <name>', 'filter what comes in there to be passed on', collect)
    .option('--resolver <address>', 'one more DNS server that may be asked', collect)
    .option('--ingress <what>', 'related: drop new connections from outside, too (default: any)')
    .option('--grace <duration>', 'how long an address stays after its TTL (default: 60s)')
    .option('--log', "write dropped packets to the kernel's log")
    .option('--table <name>', 'the name of the table (default: sallyport)')
    .action(async (options: FirewallOptions) => {
      const { firewall } = await import('./firewall.ts')
      code = await firewall(options, io)
    })

  packetFilter
    .command('redirect')
    .description('rules that send TLS to the transparent listener, for clients that know no proxy')
    .option('-c, --config <file>', 'configuration (default: the bundled one); it names the listener')
    .option('--print', 'show the rules, and load nothing (the default)')
    .option('--apply', 'load them')
    .option('--remove', 'take them away')
    .option('--replace', 'load them also in place of a redirection that is for others')
    .option('--user <name>', 'redirect what this user sends; may be repeated', collect)
    .option('--interface <name>', 'redirect what comes in there to be passed on; may be repeated', collect)
    .option('--exempt <name>', "leave this user alone: the gate's own, if it is one of those above", collect)
    .option('--table <name>', 'the name of the table (default: sallyport_redirect)')
    .action(async (options: RedirectOptions) => {
      const { redirect } = await import('./redirect.ts')
      code = await redirect(options, io)
    })

  const [first] = argv
  if (first !== undefined && !first.startsWith('-')) {
    const known = program.commands.map((command) => command.name()).filter((name) => name !== 'worker')
    // A default command would take the word for an argument of its own.
    if (first !== 'help' && first !== 'worker' && !known.includes(first)) {
      io.stderr.write(`sallyport: no command ${JSON.stringify(first)}; there are ${known.join(', ')}\n`)
      return EXIT.usage
    }
  }
  try {
    await program.parseAsync(argv, { from: 'user' })
    return code
  } catch (error) {
    // Help and version end with 0; everything else of commander is a wrong call. It has said why.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    throw error
  }
}

function collect(value: string, earlier: readonly string[] = []): readonly string[] {
  return [...earlier, value]
}
