/** `sallyport firewall redirect`: the rules that send TLS to the transparent listener, for clients that know no proxy. */
import type { ListenAddress } from '../config/units.ts'
import { firewallSchema } from '../config/schema.ts'
import { NftError, runNft } from '../firewall/nft.ts'
import { readStamp, removeTable } from '../firewall/own-table.ts'
import { formatRedirection, redirectionStamp } from '../firewall/redirect.ts'
import { EXIT, type ExitCode, type Io } from './io.ts'
import { printIssues, readConfig } from './read-config.ts'

export interface RedirectOptions {
  readonly config?: string
  readonly print?: boolean
  readonly apply?: boolean
  readonly remove?: boolean
  readonly replace?: boolean
  readonly user?: readonly string[]
  readonly interface?: readonly string[]
  readonly exempt?: readonly string[]
  readonly table?: string
}

const DEFAULT_TABLE = 'sallyport_redirect'

export async function redirect(options: RedirectOptions, io: Io): Promise<ExitCode> {
  const refuse = (problem: string): ExitCode => {
    io.stderr.write(`sallyport: ${problem}\n`)
    return EXIT.usage
  }
  const [action = 'print', another] = (['print', 'apply', 'remove'] as const).filter((name) => options[name])
  if (another) return refuse(`--${action} and --${another} are two different things; choose one`)
  const { user: users = [], interface: interfaces = [], exempt = [], table = DEFAULT_TABLE } = options
  const parsed = firewallSchema.safeParse({
    type: 'nftables',
    users: [...users, ...exempt],
    interfaces,
    table,
  })
  if (!parsed.success) {
    const [issue] = parsed.error.issues
    return refuse(`${String(issue?.path[0])}: ${issue?.message}`)
  }
  if (action === 'remove') return nftDoes(() => removeTable(runNft, table, 'redirect'), refuse)
  const read = readConfig(options.config)
  if (read.kind === 'unreadable') return refuse(read.message)
  if (read.kind === 'invalid') {
    printIssues(read.issues, read.text, io)
    return EXIT.usage
  }
  if (users.length === 0 && interfaces.length === 0)
    return refuse('whose connections? name --user NAME, or --interface NAME, or both')
  const port = portOf(read.config.listen, users.length > 0, interfaces.length > 0)
  if (typeof port === 'string') return refuse(port)
  const script = formatRedirection({ table, port, users, interfaces, exempt })
  if (action === 'print') {
    io.stdout.write(`${script}\n`)
    return EXIT.ok
  }
  return nftDoes(async () => {
    const there = await readStamp(runNft, table, 'redirect')
    // Those whom it was for would go past the gate from here on.
    if (there !== undefined && there !== redirectionStamp({ users, interfaces }) && !options.replace)
      throw new NftError(
        `the table inet ${table} redirects others already (\`nft list table inet ${table}\` shows whom); ` +
          'name all of them in one command, give these a table of their own with --table, or add --replace',
      )
    await runNft(['-f', '-'], `${script}\n`)
  }, refuse)
}

async function nftDoes(work: () => Promise<void>, refuse: (problem: string) => ExitCode): Promise<ExitCode> {
  try {
    await work()
    return EXIT.ok
  } catch (error) {
    if (error instanceof NftError) return refuse(error.message)
    throw error
  }
}

/** The port to which connections of users (on loopback) and of interfaces (on their addresses) can go; or why not. */
function portOf(
  listen: readonly ListenAddress[],
  forUsers: boolean,
  forInterfaces: boolean,
): number | string {
  const transparent = listen.filter((address) => address.transparent)
  const isLoopback = ({ host }: ListenAddress): boolean => /^127\.|^::1$/.test(host)
  const isEverywhere = ({ host }: ListenAddress): boolean => host === '0.0.0.0' || host === '::'
  const ports = new Set(transparent.map(({ port }) => port))
  const [port] = ports
  if (port === undefined)
    return 'the configuration has no transparent listener; write `transparent: 127.0.0.1:3129` in it'
  if (ports.size > 1)
    return 'the transparent listeners have different ports; one rule needs one port, such as `transparent: [127.0.0.1:3129, "[::1]:3129"]`'
  if (port === 0) return 'the transparent listener has port 0; a rule needs a port that is known'
  if (forInterfaces && transparent.every(isLoopback))
    return 'the transparent listener is on loopback, where nothing that comes in by an interface arrives; use 0.0.0.0 or an address of that interface'
  if (forUsers && !transparent.some((address) => isLoopback(address) || isEverywhere(address)))
    return 'connections of users are redirected to loopback, and no transparent listener is there; use 127.0.0.1 or 0.0.0.0'
  return port
}
