/** What a newcomer sees when the gate starts on a terminal. */
import { ruleName } from '../policy/rules.ts'
import type { Config } from '../config/load.ts'
import { syslogName } from './remote-outlets.ts'
import type { Endpoint } from '../wire/types.ts'

export interface BannerFacts {
  readonly version: string
  readonly config: Config
  readonly configFile: string
  readonly endpoints: readonly Endpoint[]
  readonly wire: string
  readonly workers: number
  /** Where the admin listener is, if anywhere. */
  readonly admin: Endpoint | undefined
}

export function formatBanner({
  version,
  config,
  configFile,
  endpoints,
  wire,
  workers,
  admin,
}: BannerFacts): string {
  const { policy } = config
  const where = endpoints.map((endpoint) => formatEndpoint(endpoint)).join(', ')
  const proxy = `${config.listen[0]?.tls ? 'https' : 'http'}://${formatEndpoint(forClients(endpoints[0] ?? { address: '127.0.0.1', port: 3128 }))}`
  const sources = [...new Set(policy.allow.map((rule) => rule.ruleset))].join(', ')
  const count = new Set(policy.allow.map(ruleName)).size
  const hosts = `${count} host${count === 1 ? '' : 's'}`
  const denials = [
    ...(config.audit.stdout ? ['standard output'] : []),
    ...(config.audit.file ? [config.audit.file.path] : []),
    ...(config.audit.syslog ? [syslogName(config.audit.syslog.address)] : []),
    ...(config.audit.otlp ? [config.audit.otlp.url] : []),
  ]
  return `
  sallyport ${version}  ${where}  (${wire} wire${workers > 1 ? `, ${workers} workers` : ''}, ${configFile})

  allowed   ${hosts} from ${sources}; nothing else${policy.mode === 'report' ? ', but mode is report: all of it passes, recorded' : ''}
  denials   ${denials.join(' and ') || 'nowhere: audit.stdout and audit.file are off'}${admin ? `\n  dashboard http://${formatEndpoint(forClients(admin))}/` : ''}

  shell     export HTTPS_PROXY=${proxy}
  dockerd   /etc/systemd/system/docker.service.d/sallyport.conf
              [Service]
              Environment=HTTPS_PROXY=${proxy}
            then: systemctl daemon-reload && systemctl restart docker

  try       curl -x ${proxy} https://cgr.dev/v2/     Ctrl-C stops

`
}

export function formatEndpoint({ address, port }: Endpoint): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
}

/** An address that a client on this machine can use; nobody connects to 0.0.0.0. */
function forClients(endpoint: Endpoint): Endpoint {
  if (endpoint.address === '0.0.0.0') return { ...endpoint, address: '127.0.0.1' }
  return endpoint.address === '::' ? { ...endpoint, address: '::1' } : endpoint
}
