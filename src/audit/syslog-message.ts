/** A record as a syslog message (RFC 5424): the header that log servers sort by, and the whole line as the text. */

const SEVERITIES: Readonly<Record<string, number>> = { error: 3, warn: 4, info: 6 }

interface Header {
  readonly '@timestamp': string
  readonly log: { readonly level: string }
  readonly event: { readonly action: string }
}

export interface SyslogFormat {
  /** RFC 5424 section 6.2.1: 16 is local0. */
  readonly facility: number
  /** This gate among others; `service.node.name` of the records. */
  readonly hostname: string
  readonly pid: number
}

/** Without a byte order mark: the text is JSON, and its readers do not expect one. @param line with its newline */
export function formatSyslog(line: string, { facility, hostname, pid }: SyslogFormat): Buffer {
  const record: Header = JSON.parse(line)
  const priority = facility * 8 + (SEVERITIES[record.log.level] ?? 5)
  const host = hostname.replace(/[^\x21-\x7e]/g, '_').slice(0, 255) || '-'
  const header = `<${priority}>1 ${record['@timestamp']} ${host} sallyport ${pid} ${record.event.action} -`
  return Buffer.from(`${header} ${line.trimEnd()}`)
}

/** RFC 6587 section 3.4.1 and RFC 5425 section 4.3: the length before the message, so that nothing in it can end it. */
export function countOctets(message: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${message.length} `), message])
}
