/** Makes a large audit log: lines as the gate writes them, their times going on. */
import { closeSync, openSync, writeSync } from 'node:fs'
import { deniedLine, lineOf, attemptOf, openedLine } from '../test/support/audit-records.ts'

const SAMPLES = 2000
const TIME_FIELD = '"@timestamp":"'
const BLOCK_BYTES = 8 * 1024 * 1024

/** @param denied one line in this many is a denial */
export function writeLog(file: string, bytes: number, denied: number): { lines: number; bytes: number } {
  const samples = Array.from({ length: SAMPLES }, (_, index) => sampleLine(index, denied)).map((line) => ({
    line: Buffer.from(line),
    timeAt: Buffer.byteLength(line.slice(0, line.indexOf(TIME_FIELD) + TIME_FIELD.length)),
  }))
  const block = Buffer.alloc(BLOCK_BYTES)
  const handle = openSync(file, 'w')
  let timeMs = Date.parse('2026-11-23T00:00:00Z')
  let written = 0
  let lines = 0
  while (written < bytes) {
    let at = 0
    for (;;) {
      const { line, timeAt } = samples[lines % SAMPLES] ?? { line: Buffer.alloc(0), timeAt: 0 }
      if (at + line.length > block.length) break
      line.copy(block, at)
      timeMs += 20
      block.write(new Date(timeMs).toISOString(), at + timeAt, 'latin1')
      at += line.length
      lines += 1
    }
    writeSync(handle, block, 0, at)
    written += at
  }
  closeSync(handle)
  return { lines, bytes: written }
}

function sampleLine(index: number, denied: number): string {
  const client = `10.0.${index % 4}.${index % 97}`
  if (index % denied === 0) {
    const hint = { kind: 'typo', value: 'cgr.dev' } as const
    if (index % 5 === 1) return deniedLine({ client, host: 'cgr.dv', hint })
    if (index % 5 === 2) return deniedLine({ client, host: 'cgr.dev', port: 80, reason: 'port_not_allowed' })
    return deniedLine({ client, host: `host-${index % 300}.example.com` })
  }
  if (index % 2 === 0) return openedLine({ client, host: 'cgr.dev' })
  const attempt = attemptOf({ client, host: 'cgr.dev' })
  return lineOf({
    kind: 'closed',
    attempt,
    code: 'completed',
    bytesUp: 1500,
    bytesDown: 90_000,
    durationMs: 321,
  })
}
