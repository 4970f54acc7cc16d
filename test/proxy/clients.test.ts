/** `clients.rules`: whoever a client is, by address and by password, it has its own policy. */
import { describe, expect, test } from 'vitest'
import { clientHello } from '../support/client-hello.ts'
import type { TestGate } from '../support/gate.ts'
import { expectThrough, openLab, type Lab } from '../support/lab.ts'
import { passwordFile, proxyAuthorization } from '../support/passwords.ts'
import type { RawClient, Reply } from '../support/raw-client.ts'

const PASSWORD = 'correct horse battery'

function connectAs(target: string, ...fields: readonly string[]): string {
  return [`CONNECT ${target} HTTP/1.1`, `Host: ${target}`, ...fields, '', ''].join('\r\n')
}

async function ask(
  lab: Lab,
  gate: TestGate,
  request: string,
  localAddress = '127.0.0.1',
): Promise<{ client: RawClient; reply: Reply }> {
  const client = await lab.client(gate, { localAddress })
  await client.send(request)
  return { client, reply: await client.reply() }
}

const OWN = { allow: [{ host: 'registry.npmjs.org' }] }

describe('by address', () => {
  test('a client has the policy of the first rule that fits, and the record says which', async () => {
    const lab = await openLab()
    const gate = await lab.gate({
      listen: '0.0.0.0:0',
      policy: { allow: [{ host: 'cgr.dev' }] },
      clients: {
        rules: [
          { name: 'ci', from: ['127.0.0.8/32'], policy: OWN },
          { name: 'watched', from: ['127.0.0.9/32'], policy: { mode: 'report' } },
          { name: 'same', from: ['127.0.0.10/32'] },
        ],
      },
    })
    const seen = []
    for (const from of ['127.0.0.1', '127.0.0.8', '127.0.0.9', '127.0.0.10']) {
      for (const host of ['cgr.dev', 'registry.npmjs.org']) {
        const { client, reply } = await ask(lab, gate, connectAs(`${host}:443`), from)
        seen.push(`${from} ${host} ${reply.status}`)
        if (reply.status === 200) await expectThrough(client, await clientHello(host))
        client.destroy()
      }
    }
    expect(seen).toEqual([
      '127.0.0.1 cgr.dev 200',
      '127.0.0.1 registry.npmjs.org 403',
      '127.0.0.8 cgr.dev 403',
      '127.0.0.8 registry.npmjs.org 200',
      '127.0.0.9 cgr.dev 200',
      '127.0.0.9 registry.npmjs.org 200',
      '127.0.0.10 cgr.dev 200',
      '127.0.0.10 registry.npmjs.org 403',
    ])
    const records = await gate.audit.waitForDecisions(8)
    const of = (from: string) =>
      records.filter(({ source }) => source?.ip === from).map(({ sallyport }) => sallyport)
    expect(of('127.0.0.1').map(({ client }) => client)).toEqual([undefined, undefined])
    expect(of('127.0.0.8')).toMatchObject([{ client: 'ci' }, { client: 'ci' }])
    expect(of('127.0.0.9')).toMatchObject([
      { client: 'watched', mode: 'report' },
      { client: 'watched', mode: 'report', would_deny: 'host_not_allowed' },
    ])
    const hashes = ['127.0.0.1', '127.0.0.8', '127.0.0.9', '127.0.0.10'].map(
      (from) => of(from)[0]?.['policy'],
    )
    expect(new Set(hashes).size).toBe(3)
    expect(hashes[3]).toBe(hashes[0])
    const rule = records.find(({ source, rule }) => source?.ip === '127.0.0.8' && rule)
    expect(rule?.rule).toEqual({ name: 'registry.npmjs.org:443', ruleset: 'clients.ci.allow' })
    const closings = await gate.audit.waitForClosings(5)
    expect(closings.find(({ source }) => source?.ip === '127.0.0.8')?.sallyport['client']).toBe('ci')
  })

  test('clients.others: deny refuses who fits no rule', async () => {
    const lab = await openLab()
    const gate = await lab.gate({
      listen: '0.0.0.0:0',
      clients: { rules: [{ name: 'ci', from: ['127.0.0.8/32'] }], others: 'deny' },
    })
    const { reply } = await ask(lab, gate, connectAs('cgr.dev:443'))
    expect(reply.status).toBe(403)
    expect(reply.phrase).toContain('denied cgr.dev:443: client_unknown')
    expect((await ask(lab, gate, connectAs('cgr.dev:443'), '127.0.0.8')).reply.status).toBe(200)
    expect(lab.dns.queries.length).toBeGreaterThan(0)
  })

  test('what the common policy denies, it denies to everybody', async () => {
    const lab = await openLab()
    const gate = await lab.gate({
      policy: { deny: [{ host: 'registry.npmjs.org', port: 8443 }] },
      clients: {
        rules: [
          { name: 'ci', from: ['127.0.0.0/8'], policy: { allow: [{ host: '*.npmjs.org', port: 8443 }] } },
        ],
      },
    })
    const { reply } = await ask(lab, gate, connectAs('registry.npmjs.org:8443'))
    expect(reply.phrase).toContain('rule_denied')
  })
})

describe('by password', () => {
  async function open(
    clients: Readonly<Record<string, unknown>> = {},
  ): Promise<{ lab: Lab; gate: TestGate }> {
    const lab = await openLab()
    const gate = await lab.gate({
      policy: { allow: [{ host: 'cgr.dev' }] },
      clients: {
        passwords: await passwordFile({ ada: PASSWORD, eve: 'another one' }),
        rules: [{ name: 'release', users: ['ada'], policy: OWN }],
        ...clients,
      },
    })
    return { lab, gate }
  }

  test('the right one opens, and the record names the user', async () => {
    const { lab, gate } = await open()
    for (const _ of [1, 2]) {
      const { client, reply } = await ask(
        lab,
        gate,
        connectAs('registry.npmjs.org:443', proxyAuthorization('ada', PASSWORD)),
      )
      expect(reply.status).toBe(200)
      await expectThrough(client, await clientHello('registry.npmjs.org'))
      client.finish()
    }
    const [record] = await gate.audit.waitForDecisions(2)
    expect(record).toMatchObject({
      event: { action: 'tunnel-opened' },
      user: { name: 'ada' },
      sallyport: { client: 'release' },
    })
    const [closing] = await gate.audit.waitForClosings(2)
    expect(closing).toMatchObject({ user: { name: 'ada' }, sallyport: { client: 'release' } })
  })

  test.each([
    ['none', [], 'credentials_missing'],
    ['a wrong password', [proxyAuthorization('ada', 'guess')], 'credentials_wrong'],
    ['a user that is not there', [proxyAuthorization('mallory', PASSWORD)], 'credentials_wrong'],
    ['two', [proxyAuthorization('ada', PASSWORD), proxyAuthorization('eve', 'x')], 'credentials_wrong'],
    ['another scheme', ['Proxy-Authorization: Bearer abcdef'], 'credentials_wrong'],
    ['an empty field', ['Proxy-Authorization:'], 'credentials_wrong'],
  ])('%s is a 407 that asks for Basic', async (_what, fields, code) => {
    const { lab, gate } = await open()
    const { client, reply } = await ask(lab, gate, connectAs('cgr.dev:443', ...fields))
    expect(reply.status).toBe(407)
    expect(reply.phrase).toContain(`sallyport denied cgr.dev:443: ${code}`)
    expect(reply.headers.get('proxy-authenticate')).toBe('Basic realm="sallyport", charset="UTF-8"')
    expect(reply.headers.get('connection')).toBe('close')
    expect(await client.ended()).toBe('fin')
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({
      event: { action: 'tunnel-denied', reason: code },
      destination: { domain: 'cgr.dev' },
    })
    expect(record).not.toHaveProperty('user')
    expect(lab.dns.queries).toEqual([])
  })

  test('credentials stand nowhere: not in replies, not in records', async () => {
    const { lab, gate } = await open()
    const secrets = [PASSWORD, 'guess-me-not', 'mallory']
    const replies = []
    for (const [user, password] of [
      ['ada', PASSWORD],
      ['ada', 'guess-me-not'],
      ['mallory', PASSWORD],
    ] as const) {
      const field = proxyAuthorization(user, password)
      secrets.push(field.split(' ')[2] ?? '')
      const { reply } = await ask(lab, gate, connectAs('evil.test:443', field))
      replies.push(JSON.stringify([reply.statusLine, reply.headerLines, reply.body]))
    }
    await gate.audit.waitForDecisions(3)
    for (const secret of secrets) expect([...replies, ...gate.audit.lines].join('\n')).not.toContain(secret)
  })

  test('a denial of a known user is a 403: nobody is asked for another password', async () => {
    const { lab, gate } = await open()
    const { reply } = await ask(lab, gate, connectAs('cgr.dev:443', proxyAuthorization('ada', PASSWORD)))
    expect(reply.status).toBe(403)
    expect(reply.headers.has('proxy-authenticate')).toBe(false)
    const [record] = await gate.audit.waitForDecisions(1)
    expect(record).toMatchObject({ user: { name: 'ada' }, event: { reason: 'host_not_allowed' } })
  })

  test('a user that no rule names has the common policy', async () => {
    const { lab, gate } = await open()
    const { reply } = await ask(lab, gate, connectAs('cgr.dev:443', proxyAuthorization('eve', 'another one')))
    expect(reply.status).toBe(200)
  })

  test('a rule before it serves those without credentials, and a wrong password is still wrong', async () => {
    const { lab, gate } = await open({
      rules: [
        { name: 'here', from: ['127.0.0.0/8'] },
        { name: 'release', users: 'any', policy: OWN },
      ],
    })
    expect((await ask(lab, gate, connectAs('cgr.dev:443'))).reply.status).toBe(200)
    const wrong = await ask(lab, gate, connectAs('cgr.dev:443', proxyAuthorization('ada', 'guess')))
    expect(wrong.reply.status).toBe(407)
  })

  test('without a password file, credentials mean nothing and are not written down', async () => {
    const lab = await openLab()
    const gate = await lab.gate()
    const field = proxyAuthorization('ada', PASSWORD)
    const { reply } = await ask(lab, gate, connectAs('cgr.dev:443', field))
    expect(reply.status).toBe(200)
    expect(gate.audit.lines.join('')).not.toContain(field.split(' ')[2])
  })

  test('a client that goes away while its password is verified leaves one record', async () => {
    const { lab, gate } = await open()
    const client = await lab.client(gate)
    await client.send(connectAs('cgr.dev:443', proxyAuthorization('ada', 'guess')))
    client.socket.resetAndDestroy()
    const records = await gate.audit.waitForDecisions(1)
    expect(records).toHaveLength(1)
    expect(['client_gone', 'credentials_wrong']).toContain(records[0]?.event.reason)
  })

  test('a flood of guesses is answered with 503 beyond the bound, and holds up nobody who is known', async () => {
    const { lab, gate } = await open()
    const good = connectAs('registry.npmjs.org:443', proxyAuthorization('ada', PASSWORD))
    expect((await ask(lab, gate, good)).reply.status).toBe(200)
    const guesses = Array.from({ length: 60 }, (_, index) =>
      ask(lab, gate, connectAs('cgr.dev:443', proxyAuthorization('ada', `guess ${index}`))),
    )
    const known = await ask(lab, gate, good)
    expect(known.reply.status).toBe(200)
    const statuses = (await Promise.all(guesses)).map(({ reply }) => reply.status)
    expect(new Set(statuses)).toEqual(new Set([407, 503]))
    const busy = await gate.audit.waitForDecisions(60)
    expect(busy.filter(({ event }) => event.reason === 'too_many_logins')).toHaveLength(
      statuses.filter((status) => status === 503).length,
    )
  })
})
