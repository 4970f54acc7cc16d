/** Opens the sinks that the configuration names, and says on standard error when one fails. */
import { openSync } from 'node:fs'
import type { AuditEvent } from '../audit/record.ts'
import { FdSink, type AuditSink } from '../audit/sinks.ts'
import { createTerminalSink } from '../audit/terminal.ts'
import type { Config } from '../config/load.ts'
import { wantsColor } from './io.ts'

const STDOUT_FD = 1

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
  const fdSink = (name: string, fd: number): AuditSink =>
    new FdSink({
      name,
      fd,
      onTrouble: (code) => say(`cannot write audit records to ${name}: ${code}; ${promise}`),
      onRecovered(lost) {
        say(`audit records go to ${name} again; ${lost} were lost`)
        const message = `writing to ${name} works again, ${lost} records were lost`
        record({ kind: 'gate', action: 'audit-recovered', message, facts: { sink: name, lost } })
      },
    })
  const sinks: AuditSink[] = []
  if (audit.stdout) {
    const terminal = stdout.isTTY ? createTerminalSink(stdout, wantsColor(stdout)) : undefined
    sinks.push(terminal ?? fdSink('standard output', STDOUT_FD))
  }
  if (audit.file) {
    const { path } = audit.file
    try {
      sinks.push(fdSink(path, openSync(path, 'a', 0o640)))
    } catch (error) {
      say(
        `cannot open audit.file: ${error instanceof Error ? error.message : String(error)}; nothing listens`,
      )
      return undefined
    }
  }
  return sinks
}
