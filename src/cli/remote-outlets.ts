/** The log servers that records are sent to. */
import { connect } from 'node:net'
import { connect as connectTls, createSecureContext, type SecureContextOptions } from 'node:tls'
import { DatagramOutlet } from '../audit/datagram-outlet.ts'
import { OtlpOutlet } from '../audit/otlp-outlet.ts'
import type { Outlet } from '../audit/queued-sink.ts'
import { StreamOutlet } from '../audit/stream-outlet.ts'
import { countOctets, formatSyslog, type SyslogFormat } from '../audit/syslog-message.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { formatListenAddress, type SyslogAddress } from '../config/units.ts'
import { ConfiguredFileError, readConfiguredFile } from './client-files.ts'

type Syslog = NonNullable<Config['audit']['syslog']>

export interface NamedOutlet {
  /** As it is told to the operator. */
  readonly name: string
  readonly outlet: Outlet
}

/** Nothing connects before there is something to send. Throws {@link ConfiguredFileError}. */
export function openRemoteOutlets(
  { syslog, otlp }: Pick<Config['audit'], 'syslog' | 'otlp'>,
  nodeName: string,
): readonly NamedOutlet[] {
  const clock = systemClock
  return [
    ...(syslog ? [{ name: syslogName(syslog.address), outlet: openSyslog(syslog, nodeName) }] : []),
    ...(otlp ? [{ name: otlp.url, outlet: new OtlpOutlet({ ...otlp, clock, random: Math.random }) }] : []),
  ]
}

export function syslogName({ protocol, ...where }: SyslogAddress): string {
  return `${protocol}://${formatListenAddress(where)}`
}

function openSyslog(syslog: Syslog, hostname: string): Outlet {
  const { protocol, host, port } = syslog.address
  const format: SyslogFormat = { facility: syslog.facility, hostname, pid: process.pid }
  if (protocol === 'udp') {
    return new DatagramOutlet({ host, port, format: (line) => formatSyslog(line, format) })
  }
  const files = readSyslogFiles(syslog)
  return new StreamOutlet({
    connect: () => (protocol === 'tls' ? connectTls({ host, port, ...files }) : connect({ host, port })),
    frame: (line) => countOctets(formatSyslog(line, format)),
    clock: systemClock,
  })
}

/** Throws {@link ConfiguredFileError} for one that is missing or wrong. */
export function readSyslogFiles({
  ca,
  cert,
  key,
}: Pick<Syslog, 'ca' | 'cert' | 'key'>): SecureContextOptions {
  const read = (name: 'ca' | 'cert' | 'key', path: string | undefined) =>
    path !== undefined && { [name]: readConfiguredFile(`audit.syslog.${name}`, path) }
  const files: SecureContextOptions = { ...read('ca', ca), ...read('cert', cert), ...read('key', key) }
  try {
    createSecureContext(files)
    return files
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new ConfiguredFileError(`the TLS files of audit.syslog do not work together: ${why}`, {
      cause: error,
    })
  }
}
