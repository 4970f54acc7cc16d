import { accepts, freePort } from './ports.ts'
import { tidyEnv } from './programs.ts'
import type { Scope } from './scope.ts'
import { startService } from './service.ts'

export interface Answer {
  name: string
  address: string
  ttl: number
  /** The name that `name` is a CNAME of; the address is then that name's. */
  via?: string
}

export interface Nameserver {
  /** As `dns.servers` takes it. */
  address: string
  /** Every name asked for, in order, with its type, such as `A cgr.dev`. */
  queries: () => string[]
}

/** dnsmasq, on loopback if nothing else is said: it answers what it is given, NXDOMAIN to all else, and asks nobody. */
export const startNameserver = async (
  scope: Scope,
  answers: readonly Answer[],
  listen = '127.0.0.1',
): Promise<Nameserver> => {
  const port = await freePort(listen)
  const records = answers.flatMap(({ name, address, ttl, via }) =>
    via === undefined
      ? [`--host-record=${name},${address},${ttl}`]
      : [`--host-record=${via},${address},${ttl}`, `--cname=${name},${via},${ttl}`],
  )
  const service = await startService(scope, {
    name: 'dnsmasq',
    command: 'dnsmasq',
    args: [
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--pid-file',
      '--user=root',
      `--port=${port}`,
      `--listen-address=${listen}`,
      '--bind-interfaces',
      '--no-resolv',
      '--no-hosts',
      '--cache-size=0',
      '--local=/#/',
      '--log-queries',
      '--log-facility=-',
      ...records,
    ],
    env: tidyEnv(scope.folder),
    ready: () => accepts(port, listen),
  })
  const queries = (): string[] =>
    [...service.stderr().matchAll(/ query\[([A-Z]+)\] (\S+) from /g)].map(
      ([, type, name]) => `${type} ${name}`,
    )
  return { address: `${listen}:${port}`, queries }
}
