/** `sni: off` on a rule: what it allows is not checked for its server name, and everything else is. */
import { expect, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import { connectRequest, expectThrough, openLab } from '../support/lab.ts'

const EXCEPTION = { host: 'cgr.dev', sni: 'off', owner: 'platform', reason: 'an old client' }

test('what the rule allows may say anything, at once, and the record says that nobody looked', async () => {
  const lab = await openLab()
  const gate = await lab.gate({ policy: { allow: [EXCEPTION, { host: 'registry.npmjs.org' }] } })
  const client = await lab.client(gate)
  await client.send(connectRequest('cgr.dev:443'))
  expect((await client.reply()).status).toBe(200)
  await expectThrough(client, Buffer.from('SSH-2.0-OpenSSH_9.9\r\n'))
  const [record] = await gate.audit.waitForDecisions(1)
  expect(record).toMatchObject({
    event: { action: 'tunnel-opened' },
    rule: { name: 'cgr.dev:443', ruleset: 'policy.allow' },
    sallyport: { sni: 'off' },
  })

  const checked = await lab.client(gate)
  await checked.send(connectRequest('registry.npmjs.org:443'))
  expect((await checked.reply()).status).toBe(200)
  await checked.send(await clientHello('cgr.dev'))
  expect([...(await checked.rest())]).toEqual([21, 3, 1, 0, 2, 2, 112])
  const [, denied] = await gate.audit.waitForDecisions(2)
  expect(denied?.event.reason).toBe('sni_mismatch')
  expect(denied?.sallyport).not.toHaveProperty('sni')
})

test('an exception stands beside a rule without one for the same host, whichever comes first', async () => {
  for (const allow of [
    [{ host: 'cgr.dev' }, EXCEPTION],
    [EXCEPTION, { host: 'cgr.dev' }],
  ]) {
    const lab = await openLab()
    const gate = await lab.gate({ policy: { allow } })
    const client = await lab.client(gate)
    await client.send(connectRequest('cgr.dev:443'))
    await client.reply()
    await expectThrough(client, await clientHello('evil.test'))
    expect((await gate.audit.waitForDecisions(1))[0]?.sallyport['sni']).toBe('off')
  }
})

test('an expired exception is none', async () => {
  const lab = await openLab()
  const gate = await lab.gate({
    policy: { allow: [{ ...EXCEPTION, expires: '2020-01-01' }, { host: 'cgr.dev' }] },
  })
  const client = await lab.client(gate)
  await client.send(connectRequest('cgr.dev:443'), await clientHello('evil.test'))
  await client.reply()
  expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, 112])
})

test('under policy.sni: off a rule may require it', async () => {
  const lab = await openLab()
  const gate = await lab.gate({ policy: { sni: 'off', allow: [{ host: 'cgr.dev', sni: 'require' }] } })
  const client = await lab.client(gate)
  await client.send(connectRequest('cgr.dev:443'), await clientHello('evil.test'))
  await client.reply()
  expect([...(await client.rest())]).toEqual([21, 3, 1, 0, 2, 2, 112])
})
