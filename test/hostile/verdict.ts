/** What every refusal by the request alone has in common. */
import { expect } from 'vitest'
import { z } from 'zod'
import type { AuditRecord } from '../support/audit-log.ts'
import type { TestGate } from '../support/gate.ts'
import { expectServed, type Lab } from '../support/lab.ts'
import type { Reply } from '../support/raw-client.ts'

export interface Verdict {
  readonly status: number
  readonly code: string
  /** The malformation that the record names. */
  readonly kind?: string
}

const replyBody = z.strictObject({
  error: z.string(),
  code: z.string(),
  id: z.string(),
  hint: z.string().optional(),
  retry: z.enum(['none', 'transient', 'policy']),
})

export function bodyOf(reply: Reply): z.infer<typeof replyBody> {
  return replyBody.parse(JSON.parse(reply.body))
}

/** Sends the bytes and checks the answer, its record, the close, and that nothing else happened. */
export async function expectRefused(
  lab: Lab,
  gate: TestGate,
  segments: readonly (Buffer | string)[],
  verdict: Verdict,
): Promise<{ reply: Reply; record: AuditRecord }> {
  const client = await lab.client(gate)
  await client.send(...segments)
  const answer = await expectReply(client, verdict)
  const record = await expectOneDecision(gate, verdict, answer.id)
  expect(lab.dns.queries).toEqual([])
  expect(lab.wire.dialled).toEqual([])
  expect(lab.upstream.connections).toBe(0)
  await expectNextServed(lab, gate)
  return { reply: answer.reply, record }
}

type Client = Awaited<ReturnType<Lab['client']>>

/** One whole reply with that status and code, then FIN and not a byte more. */
export async function expectReply(client: Client, verdict: Verdict): Promise<{ reply: Reply; id: string }> {
  const reply = await client.reply()
  expect(reply.status).toBe(verdict.status)
  expect(reply.phrase).toContain(`: ${verdict.code}`)
  expect(reply.phrase).toMatch(/^[\x20-\x7e]{1,200}$/)
  expect(reply.headers.get('connection')).toBe('close')
  expect(reply.headers.has('transfer-encoding')).toBe(false)
  const body = bodyOf(reply)
  expect(body.code).toBe(verdict.code)
  expect((await client.rest()).toString('latin1')).toBe('')
  expect(await client.ended()).toBe('fin')
  return { reply, id: body.id }
}

/** The gate wrote one decision, and it is this one. */
export async function expectOneDecision(gate: TestGate, verdict: Verdict, id?: string): Promise<AuditRecord> {
  const decisions = await gate.audit.waitForDecisions(1)
  expect(decisions.map(({ event }) => event.reason)).toEqual([verdict.code])
  const [record] = decisions
  if (!record) throw new Error('no decision record')
  if (id !== undefined) expect(record.event.id).toBe(id)
  expect(record.sallyport.malformation).toBe(verdict.kind)
  return record
}

/** The gate is well: the next honest CONNECT is served, and is the only decision that came to what was there. */
export async function expectNextServed(lab: Lab, gate: TestGate, host = 'cgr.dev'): Promise<void> {
  const { length } = gate.audit.decisions
  await expectServed(lab, gate, host)
  const decisions = await gate.audit.waitForDecisions(length + 1)
  expect(decisions.slice(length).map(({ event }) => event.reason)).toEqual(['allowed'])
}
