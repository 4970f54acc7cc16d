/** Opens the sinks that the configuration names, and says on standard error when one fails. */
import { constants, openSync } from 'node:fs'
import type { AuditEvent } from '../audit/record.ts'
import { FdSink, type AuditSink } from '../audit/sinks.ts'
import { formatTerminalLine } from '../audit/terminal.ts'
import type { Config } from '../config/load.ts'
import { wantsColor } from './io.ts'

const STDOUT_FD = 1
/** O_NONBLOCK matters to a FIFO only: neither opening nor writing may wait for its reader. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK

type GateEvent = Omit<Extract<AuditEvent, { kind: 'gate' }>, 'policyHash' | 'mode'>

/**
 * @param say a line for the operator
 * @param record takes the record that a sink works again
 * @returns nothing when a sink cannot be opened; why has been said
 */
export function openSinks(
  audit: Config['audit'],
  stdout: NodeJS.WriteStream,
  say: (text: string) => void,
  record: (event: GateEvent) => void,
): readonly AuditSink[] | undefined {
  const promise =
    audit.onError === 'deny' ? 'no tunnel opens until it works again' : 'tunnels open unrecorded'
  const fdSink = (name: string, fd: number, format?: (line: string) => string): AuditSink =>
    new FdSink({
      name,
      fd,
      ...(format && { format }),
      onTrouble: (code) => say(`cannot write audit records to ${name}: ${code}; ${promise}`),
      onRecovered(lost) {
        say(`audit records go to ${name} again; ${lost} were lost`)
        const message = `writing to ${name} works again, ${lost} records were lost`
        record({ kind: 'gate', action: 'audit-recovered', message, facts: { sink: name, lost } })
      },
    })
  const sinks: AuditSink[] = []
  if (audit.stdout) {
    const color = wantsColor(stdout)
    const readable = (line: string): string => `${formatTerminalLine(line, color)}\n`
    sinks.push(fdSink('standard output', STDOUT_FD, stdout.isTTY ? readable : undefined))
  }
  if (audit.file) {
    const { path } = audit.file
    try {
      sinks.push(fdSink(path, openSync(path, APPEND, 0o640)))
    } catch (error) {
      say(`cannot open audit.file ${path}: ${whyUnopened(error)}; nothing listens`)
      return undefined
    }
  }
  return sinks
}

function whyUnopened(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ENOENT':
      return 'its folder does not exist; create it, or name another file'
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'no permission to write there'
    case 'EISDIR':
      return 'it is a folder'
    case 'ENXIO':
      return 'nobody reads this FIFO'
    default:
      return error instanceof Error ? error.message : String(error)
  }
}
