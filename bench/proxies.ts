/** The proxies that are measured: how each is started here, with the least configuration that does the task. */
import { mkdirSync, chmodSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { haproxyConfig, sallyportConfig, squidConfig, tinyproxyConfig } from './configs.ts'
import { ORIGIN_HOST, compile, freePort, writeIn } from './workshop.ts'
import { packageVersion, versionOf } from './versions.ts'

/** One way to carry a tunnel to the origin. */
export interface Proxy {
  readonly name: string
  readonly title: string
  readonly version: string
  readonly command: readonly string[]
  readonly port: number
  /** What CONNECT names; `undefined`: it takes no CONNECT. */
  readonly target: string | undefined
  /** Must stand on its standard output once it runs, or something else was started than was asked for. */
  readonly proof?: string
}

/** What a proxy is set up with. */
export interface Site {
  readonly folder: string
  readonly port: number
  readonly originPort: number
  /** As many as a process may have. */
  readonly descriptors: number
}

type Maker = (site: Site) => Omit<Proxy, 'name' | 'port'> | undefined

const BIN = join(import.meta.dirname, '../bin/sallyport.js')
const NODE = process.execPath
/** As `npm start` has it, the image and the systemd unit. */
const FLAGS = ['--max-semi-space-size=4']

const MAKERS: Readonly<Record<string, Maker>> = {
  limit: ({ folder, port, originPort }) => ({
    title: 'limit (C)',
    version: 'bench/limit.c',
    command: [compile('limit', folder), `${port}`, `${originPort}`],
    target: `127.0.0.1:${originPort}`,
  }),
  kernel: (site) => sallyport('kernel', site),
  portable: (site) => sallyport('portable', site),
  pipe: ({ port, originPort }) => ({
    title: 'node:net + pipe',
    version: process.version,
    command: [NODE, join(import.meta.dirname, 'pipe-proxy.ts'), `${port}`],
    target: `127.0.0.1:${originPort}`,
  }),
  squid: (site) => {
    const version = versionOf('squid', '-v')
    // It gives up root, and then writes its logs.
    const logs = join(site.folder, 'squid')
    if (version === undefined) return undefined
    mkdirSync(logs, { recursive: true })
    chmodSync(logs, 0o777)
    const hosts = writeIn(site.folder, 'hosts', `127.0.0.1 ${ORIGIN_HOST}\n`)
    const config = writeIn(site.folder, 'squid.conf', squidConfig(site, { logs, hosts }))
    const target = `${ORIGIN_HOST}:${site.originPort}`
    return { title: 'squid', version, command: ['squid', '-N', '-f', config], target }
  },
  tinyproxy: (site) => {
    const version = versionOf('tinyproxy', '-v')
    if (version === undefined) return undefined
    const filter = writeIn(site.folder, 'tinyproxy.filter', '^127\\.0\\.0\\.1$\n')
    const log = join(site.folder, 'tinyproxy.log')
    const config = writeIn(site.folder, 'tinyproxy.conf', tinyproxyConfig(site, { filter, log }))
    const target = `127.0.0.1:${site.originPort}`
    return { title: 'tinyproxy', version, command: ['tinyproxy', '-d', '-c', config], target }
  },
  haproxy: (site) => {
    const version = versionOf('haproxy', '-v')
    if (version === undefined) return undefined
    const config = writeIn(site.folder, 'haproxy.cfg', haproxyConfig(site))
    return { title: 'haproxy (TCP)', version, command: ['haproxy', '-f', config], target: undefined }
  },
  'proxy-chain': ({ port, originPort }) => {
    const file = resolvePackage('proxy-chain')
    if (file === undefined) return undefined
    const command = [NODE, join(import.meta.dirname, 'chain-proxy.ts'), `${port}`]
    return { title: 'proxy-chain', version: packageVersion(file), command, target: `127.0.0.1:${originPort}` }
  },
}

export const PROXY_NAMES: readonly string[] = Object.keys(MAKERS)

/** The proxies called `names` that can be started on this machine. */
export async function prepareProxies(
  names: readonly string[],
  folder: string,
  originPort: number,
  descriptors: number,
): Promise<readonly Proxy[]> {
  const proxies: Proxy[] = []
  for (const name of names) {
    const port = await freePort()
    const made = MAKERS[name]?.({ folder, port, originPort, descriptors })
    if (made) proxies.push({ ...made, name, port })
    else process.stderr.write(`bench: ${name} is not installed, and is left out\n`)
  }
  return proxies
}

function sallyport(wire: 'kernel' | 'portable', site: Site): ReturnType<Maker> {
  const config = writeIn(site.folder, `sallyport-${wire}.yaml`, sallyportConfig(site, wire))
  return {
    title: `sallyport ${wire}`,
    version: packageVersion(BIN),
    command: [NODE, ...FLAGS, BIN, 'serve', '--config', config],
    target: `${ORIGIN_HOST}:${site.originPort}`,
    proof: `"wire":"${wire}"`,
  }
}

function resolvePackage(name: string): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(name)
  } catch {
    return undefined
  }
}
