import { node } from './gate.ts'
import { hello } from './package-host.ts'
import { run, tidyEnv } from './programs.ts'
import type { Finished } from './programs.ts'
import type { Scope } from './scope.ts'

/** What the clients are told, and what they must come back with. */
export interface Facts {
  scope: Scope
  proxy: string
  caFile: string
  /** Of the git repository. */
  commit: string
  /** Of the image's manifest. */
  digest: string
}

/** A real program, told about the proxy and the authority in its own way and nothing else. */
export interface Client {
  name: string
  programs: readonly string[]
  version: readonly [command: string, argument: string]
  /** Fetches something small from `host`. */
  fetch: (facts: Facts, host: string) => Promise<Finished>
  /** What standard output holds when it worked. */
  expected: (facts: Facts) => string
  /** Talks to a registry instead of a web site. */
  registry: boolean
  /** What it prints about a refusal, given the reason phrase. */
  prints: (phrase: string) => string[]
}

const env = ({ scope, proxy }: Facts, extra: Record<string, string> = {}) =>
  tidyEnv(scope.folder, { HTTPS_PROXY: proxy, https_proxy: proxy, NO_PROXY: '', no_proxy: '', ...extra })
const page = (host: string): string => `https://${host}/hello.txt`
const image = (host: string): string => `${host}/chainguard/lab:latest`

const python = `
import sys, urllib.request
try:
    sys.stdout.write(urllib.request.urlopen(sys.argv[1]).read().decode())
except Exception as error:
    sys.exit(str(error))
`
const nodeGet = `
require('node:https').get(process.argv[1], (answer) => answer.pipe(process.stdout)).on('error', (error) => {
  console.error(String(error))
  process.exitCode = 1
})
`

const web = { registry: false, expected: () => hello }

export const clients: readonly Client[] = [
  {
    ...web,
    name: 'curl',
    programs: ['curl'],
    version: ['curl', '--version'],
    fetch: (facts, host) =>
      run('curl', ['-sS', '-v', '--cacert', facts.caFile, page(host)], { env: env(facts) }),
    prints: (phrase) => ['curl: (56) CONNECT tunnel failed, response 403', `< HTTP/1.1 403 ${phrase}`],
  },
  {
    ...web,
    name: 'wget',
    programs: ['wget'],
    version: ['wget', '--version'],
    fetch: (facts, host) =>
      run('wget', ['--tries=1', `--ca-certificate=${facts.caFile}`, '-O', '-', page(host)], {
        env: env(facts),
      }),
    prints: (phrase) => [`Proxy tunneling failed: ${phrase}`],
  },
  {
    registry: false,
    name: 'git',
    programs: ['git'],
    version: ['git', '--version'],
    fetch: (facts, host) => {
      const folder = facts.scope.path(`clone-${host}`)
      const script = `git clone --quiet https://${host}/demo.git ${folder} && git -C ${folder} rev-parse HEAD`
      const trust = { GIT_SSL_CAINFO: facts.caFile, GIT_CONFIG_NOSYSTEM: '1', GIT_TERMINAL_PROMPT: '0' }
      return run('sh', ['-c', script], { env: env(facts, trust) })
    },
    expected: ({ commit }) => `${commit}\n`,
    prints: () => ['CONNECT tunnel failed, response 403'],
  },
  {
    ...web,
    name: 'openssl s_client',
    programs: ['openssl', 'timeout'],
    version: ['openssl', 'version'],
    fetch: (facts, host) => {
      const to = [
        '-proxy',
        facts.proxy.replace('http://', ''),
        '-connect',
        `${host}:443`,
        '-servername',
        host,
      ]
      const trust = ['-quiet', '-verify_return_error', '-CAfile', facts.caFile]
      const input = `GET /hello.txt HTTP/1.0\r\nHost: ${host}\r\n\r\n`
      return run('timeout', ['20', 'openssl', 's_client', ...trust, ...to], { env: env(facts), input })
    },
    prints: (phrase) => [`s_client: HTTP CONNECT failed, reason= 403 ${phrase}`],
  },
  {
    ...web,
    name: 'Python urllib',
    programs: ['python3'],
    version: ['python3', '--version'],
    fetch: (facts, host) =>
      run('python3', ['-c', python, page(host)], { env: env(facts, { SSL_CERT_FILE: facts.caFile }) }),
    prints: (phrase) => [`Tunnel connection failed: 403 ${phrase}`],
  },
  {
    ...web,
    name: 'Node https',
    programs: [],
    version: [node, '--version'],
    fetch: (facts, host) => {
      const trust = { NODE_EXTRA_CA_CERTS: facts.caFile, NODE_USE_ENV_PROXY: '1' }
      return run(node, ['-e', nodeGet, page(host)], { env: env(facts, trust) })
    },
    prints: (phrase) => [`HTTP/1.1 403 ${phrase}`],
  },
  {
    registry: true,
    name: 'skopeo',
    programs: ['skopeo', 'sha256sum'],
    version: ['skopeo', '--version'],
    fetch: (facts, host) => {
      const folder = facts.scope.path(`copy-${host}`)
      const copy = `skopeo --insecure-policy copy --preserve-digests docker://${image(host)} dir:${folder}`
      const script = `${copy} >&2 && sha256sum ${folder}/manifest.json`
      return run('sh', ['-c', script], { env: env(facts, { SSL_CERT_FILE: facts.caFile }) })
    },
    expected: ({ digest }) => digest.replace('sha256:', ''),
    prints: (phrase) => [phrase],
  },
  {
    registry: true,
    name: 'docker manifest',
    programs: ['docker'],
    version: ['docker', '--version'],
    fetch: (facts, host) => {
      const own = { DOCKER_CONFIG: facts.scope.path('docker-cli'), DOCKER_CLI_EXPERIMENTAL: 'enabled' }
      const trust = { SSL_CERT_FILE: facts.caFile }
      return run('docker', ['manifest', 'inspect', image(host)], { env: env(facts, { ...own, ...trust }) })
    },
    expected: () => '"layers": [',
    prints: (phrase) => [`/v2/": ${phrase}`],
  },
]
