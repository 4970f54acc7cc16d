/** What the admin side remembers of the audit trail. */
import { expect, test } from 'vitest'
import { Trail } from '../../src/admin/trail.ts'
import { attemptOf, deniedLine, lineOf } from '../support/audit-records.ts'

test('denials are kept, and of the ends of tunnels only the one that is a denial', () => {
  const trail = new Trail()
  const attempt = attemptOf({ host: 'cgr.dev' })
  const end = (code: 'sni_changed' | 'completed'): string =>
    lineOf({ kind: 'closed', attempt, code, bytesUp: 0, bytesDown: 0, durationMs: 1 })
  const lost = lineOf({ kind: 'lost', opened: lineOf({ kind: 'opened', attempt }) })
  const denial = deniedLine()
  for (const line of [denial, end('completed'), end('sni_changed'), lost]) trail.take(line)
  expect(trail.denials(10)).toEqual([end('sni_changed'), denial])
  expect(trail.counts).toMatchObject({ 'tunnel-closed': 3, 'tunnel-denied': 1 })
})
