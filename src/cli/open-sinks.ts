/** Opens the sinks that the configuration names, and says on standard error when one fails. */
import { constants, openSync, statSync } from 'node:fs'
import { hostname } from 'node:os'
import { FileOutlet, type Rotation } from '../audit/file-outlet.ts'
import { openAuditFile, type Torn } from '../audit/file-tail.ts'
import { findFormerHead } from '../audit/former-head.ts'
import type { AuditEvent } from '../audit/record.ts'
import { QueuedSink, type Outlet, type QueuedSinkOptions } from '../audit/queued-sink.ts'
import { FdOutlet, type AuditSink } from '../audit/sinks.ts'
import { formatTerminalLine } from '../audit/terminal.ts'
import { systemClock } from '../clock.ts'
import type { Config } from '../config/load.ts'
import { wantsColor } from './io.ts'
import { openRemoteOutlets } from './remote-outlets.ts'

const STDOUT_FD = 1
/** O_NONBLOCK matters to a FIFO only: neither opening nor writing may wait for its reader. */
const APPEND = constants.O_WRONLY | constants.O_APPEND | constants.O_CREAT | constants.O_NONBLOCK

type GateEvent = Omit<Extract<AuditEvent, { kind: 'gate' }>, 'policyHash' | 'mode'>

export interface OpenedSinks {
  readonly sinks: readonly AuditSink[]
  /** Hash of the last line of the audit file, or of the one that it was rotated to, where the chain goes on. */
  readonly head?: string
  /** What has to be put on record about the file as it was found. */
  readonly found?: GateEvent
}

/**
 * @param say a line for the operator
 * @param record takes the record that a sink works again, or has begun a new file
 * @returns nothing when a sink cannot be opened; why has been said
 */
export async function openSinks(
  audit: Config['audit'],
  stdout: NodeJS.WriteStream,
  say: (text: string) => void,
  record: (event: GateEvent) => void,
): Promise<OpenedSinks | undefined> {
  const { file } = audit
  // Records that are on this machine are safe while a log server is away.
  const patient = audit.stdout || file !== null
  const deny = audit.onError === 'deny'
  const promise = deny ? 'no tunnel opens until it works again' : 'tunnels open unrecorded'
  const queued = (name: string, outlet: Outlet, options: Partial<QueuedSinkOptions> = {}): AuditSink =>
    new QueuedSink({
      name,
      outlet,
      ...options,
      onTrouble(code) {
        const meanwhile = options.patient ? 'they wait, as many as the queue holds' : promise
        say(`cannot write audit records to ${name}: ${code}; ${meanwhile}`)
      },
      onRecovered(lost, { after }) {
        say(`audit records go to ${name} again; ${lost} were lost`)
        const message = `writing to ${name} works again, ${lost} records were lost`
        const facts = { sink: name, lost, ...(lost > 0 && { after }) }
        record({ kind: 'gate', action: 'audit-recovered', message, facts })
      },
    })
  const sinks: AuditSink[] = []
  if (audit.stdout) {
    const color = wantsColor(stdout)
    const format = (line: string): string => `${formatTerminalLine(line, color)}\n`
    sinks.push(queued('standard output', new FdOutlet(STDOUT_FD), stdout.isTTY ? { format } : {}))
  }
  for (const { name, outlet } of openRemoteOutlets(audit, hostname())) {
    sinks.push(queued(name, outlet, { patient }))
  }
  if (!file) return { sinks }
  const { path } = file
  try {
    // A FIFO or a device has no end to read, and nothing to rotate.
    if (statSync(path, { throwIfNoEntry: false })?.isFile() === false) {
      sinks.push(queued(path, new FdOutlet(openSync(path, APPEND))))
      return { sinks }
    }
    const opened = openAuditFile(path)
    const onRotated = ({ former, head, removed }: Rotation): void => {
      const message = `the audit file goes on in a new one, the former is ${former}`
      const facts = { sink: path, former, head, ...(removed.length > 0 && { deleted: removed }) }
      record({ kind: 'gate', action: 'audit-rotated', message, facts })
    }
    const onRotationFailed = (code: string): void => say(`cannot rotate ${path}: ${code}; it grows on`)
    const outlet = new FileOutlet({ ...file, clock: systemClock, onRotated, onRotationFailed }, opened)
    sinks.push(queued(path, outlet))
    const { torn } = opened
    const head = opened.head ?? (await headBefore(path, say))
    return { sinks, ...(head !== undefined && { head }), ...(torn && { found: tornEvent(path, torn) }) }
  } catch (error) {
    say(`cannot open audit.file ${path}: ${whyUnopened(error)}; nothing listens`)
    return undefined
  }
}

/** Where an empty file goes on: it was rotated away while no gate ran, or the gate ended before its first record. */
async function headBefore(path: string, say: (text: string) => void): Promise<string | undefined> {
  try {
    return (await findFormerHead(path))?.head
  } catch (error) {
    say(`the chain of audit records begins anew: ${error instanceof Error ? error.message : String(error)}`)
    return undefined
  }
}

/** The process before this one ended in the middle of a line. */
function tornEvent(path: string, torn: Torn): GateEvent {
  return {
    kind: 'gate',
    action: 'audit-recovered',
    message: `the last record of ${path} was cut off after ${torn.bytes} bytes and is lost`,
    facts: { sink: path, lost: 1, torn },
  }
}

function whyUnopened(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? error.code : undefined
  switch (code) {
    case 'ENOENT':
      return 'its folder does not exist; create it, or name another file'
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return 'no permission to read and write there'
    case 'EISDIR':
      return 'it is a folder'
    case 'ENXIO':
      return 'nobody reads this FIFO'
    default:
      return error instanceof Error ? error.message : String(error)
  }
}
