/** A day of denials with a bit of everything, also of what somebody wrote who would like to be run. */
import { deniedLine } from './audit-records.ts'

export const HOSTILE = '</script><img src=x onerror="document.title=1">'

export function sampleDenials(): string {
  const lines: string[] = []
  for (let minute = 0; minute < 24 * 60; minute += 7) {
    const at = new Date(Date.parse('2026-11-23T00:00:00Z') + minute * 60_000).toISOString()
    const client = `10.1.0.${minute % 23}`
    lines.push(deniedLine({ at, client, host: 'telemetry.example.com' }))
    if (minute % 2 === 0) {
      const hint = { kind: 'typo', value: 'cgr.dev' } as const
      lines.push(deniedLine({ at, client, host: 'cgr.dv', hint }))
    }
    if (minute % 3 === 0) lines.push(deniedLine({ at, client, host: '93.184.216.34', reason: 'ip_literal' }))
    if (minute % 5 === 0) {
      const hint = { kind: 'port', value: 'cgr.dev:443' } as const
      lines.push(deniedLine({ at, client, host: 'cgr.dev', port: 80, reason: 'port_not_allowed', hint }))
    }
    if (minute > 600 && minute < 660) {
      for (let count = 0; count < 9; count += 1)
        lines.push(deniedLine({ at, client: '10.9.9.9', host: `h${count}.exfil.example`, user: HOSTILE }))
    }
  }
  const hint = { kind: 'nearby', value: HOSTILE } as const
  const at = '2026-11-23T23:59:00.000Z'
  lines.push(deniedLine({ at, host: HOSTILE, client: HOSTILE, hint, node: HOSTILE }))
  return lines.join('')
}
