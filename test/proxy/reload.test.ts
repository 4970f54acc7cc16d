/** What a reload means for connections that are there already. */
import { expect, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { until } from '../support/deadline.ts'
import { parseSettings } from '../support/gate.ts'
import { connectRequest, expectThrough, openLab, type Lab } from '../support/lab.ts'

const BOTH = ['cgr.dev', 'registry.npmjs.org']

/** The configuration of the lab's gate, with a policy of these hosts. */
const settings = (lab: Lab, hosts: readonly string[], policy = {}) => ({
  listen: '127.0.0.1:0',
  policy: { presets: [], allow: hosts.map((host) => ({ host })), ...policy },
  dns: { servers: [lab.dns.address], timeout: '30s' },
})

test('a client that was connected before and asks after it is answered by the new policy', async () => {
  const lab = await openLab()
  const gate = await lab.gate()
  const early = await lab.client(gate)
  await until(() => gate.parts.gate.connections === 1, 'the connection')
  gate.parts.reload(parseSettings(settings(lab, ['registry.npmjs.org'])))
  await early.send(connectRequest('cgr.dev:443'))
  expect((await early.reply()).status).toBe(403)
  const [record] = await gate.audit.waitForDecisions(1)
  expect(record?.event.reason).toBe('host_not_allowed')
  // It is on record under the policy that it was decided by.
  const later = await lab.client(gate)
  await later.send(connectRequest('cgr.dev:443'))
  await later.reply()
  const [, next] = await gate.audit.waitForDecisions(2)
  expect(record?.sallyport?.['policy']).toBe(next?.sallyport?.['policy'])
})

/** The host of a tunnel goes between its 200 and its ClientHello. */
async function revokedMidway(onRevoke: 'keep' | 'close') {
  const lab = await openLab()
  const gate = await lab.gate()
  const client = await lab.client(gate)
  await client.send(connectRequest('cgr.dev:443'))
  expect((await client.reply()).status).toBe(200)
  gate.parts.reload(parseSettings(settings(lab, ['registry.npmjs.org'], { onRevoke })))
  return { lab, gate, client, hello: await clientHello('cgr.dev') }
}

test('a tunnel that was about to open when its host was taken out is kept, and counted as revoked', async () => {
  const { lab, gate, client, hello } = await revokedMidway('keep')
  await expectThrough(client, hello)
  const [record] = await gate.audit.waitForDecisions(1)
  expect(record?.event.reason).toBe('allowed')
  const [tunnel] = gate.parts.tunnels.open
  expect(tunnel?.attempt.revoked).toBe(true)
  // Allowed again, it is a tunnel like any other.
  gate.parts.reload(parseSettings(settings(lab, BOTH)))
  expect(tunnel?.attempt.revoked).toBe(false)
})

test('or it is closed, where onRevoke says so', async () => {
  const { gate, client, hello } = await revokedMidway('close')
  await client.send(hello)
  const [closing] = await gate.audit.waitForClosings(1)
  expect(closing?.event.reason).toBe('policy_revoked')
})
