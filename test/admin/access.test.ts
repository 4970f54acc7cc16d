/** Who may ask the admin listener, and what everybody else gets. With the real program. */
import { once } from 'node:events'
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { expect, onTestFinished, test } from 'vitest'
import { ask, codeOf, serveWithAdmin, TOKEN, withToken } from '../support/admin.ts'
import { until, within } from '../support/deadline.ts'

/** What comes back for bytes as they stand. */
async function say(port: number, bytes: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1' })
  onTestFinished(() => void socket.destroy())
  socket.on('error', () => undefined)
  socket.write(bytes)
  return within(text(socket), 'the end of the answer')
}

test('answers requests to itself, with headers that keep browsers tight', async () => {
  const gate = await serveWithAdmin()
  const { status, headers } = await ask(gate.admin, '/api/status')
  expect(status).toBe(200)
  expect(headers['content-security-policy']).toContain("default-src 'none'")
  expect(headers['x-content-type-options']).toBe('nosniff')
  expect(headers['cache-control']).toBe('no-store')
  expect(headers['access-control-allow-origin']).toBeUndefined()

  for (const Host of [`localhost:${gate.admin}`, '127.0.0.1', '[::1]:9128', '10.1.2.3:80']) {
    const { status } = await ask(gate.admin, '/api/status', { headers: { Host } })
    expect([Host, status]).toEqual([Host, 200])
  }
})

test('refuses what a page of another site could make a browser send', async () => {
  const gate = await serveWithAdmin({}, { hosts: ['gate.example.com'] })
  for (const Host of ['evil.example', 'localhost.evil.example', '127.0.0.1.evil.example']) {
    const answer = await ask(gate.admin, '/api/status', { headers: { Host } })
    expect([Host, answer.status, codeOf(answer)]).toEqual([Host, 421, 'host_not_ours'])
  }
  for (const headers of [
    { Origin: 'https://evil.example' },
    { Origin: 'null' },
    { Origin: `http://localhost:1` },
    { 'Sec-Fetch-Site': 'cross-site' },
  ]) {
    const answer = await ask(gate.admin, '/metrics', { headers })
    expect([headers, answer.status, codeOf(answer)]).toEqual([headers, 403, 'cross_origin'])
  }
  const preflight = await ask(gate.admin, '/api/reload', {
    method: 'OPTIONS',
    headers: { 'Access-Control-Request-Method': 'POST' },
  })
  expect(preflight.status).toBe(405)
  expect(preflight.headers['access-control-allow-methods']).toBeUndefined()
  const own = { Host: 'gate.example.com', Origin: 'http://gate.example.com' }
  expect((await ask(gate.admin, '/api/status', { headers: own })).status).toBe(200)
})

test('a link of another site opens the dashboard, and nothing else', async () => {
  const gate = await serveWithAdmin()
  const link = { 'Sec-Fetch-Site': 'cross-site', 'Sec-Fetch-Mode': 'navigate', 'Sec-Fetch-Dest': 'document' }
  for (const site of ['cross-site', 'same-site']) {
    const { status, headers } = await ask(gate.admin, '/', { headers: { ...link, 'Sec-Fetch-Site': site } })
    expect([site, status]).toEqual([site, 200])
    expect(headers['content-security-policy']).toContain("frame-ancestors 'none'")
    expect(headers['access-control-allow-origin']).toBeUndefined()
  }
  const refused: readonly (readonly [string, string, Readonly<Record<string, string>>])[] = [
    ['GET', '/metrics', link],
    ['GET', '/api/policy', link],
    ['POST', '/api/reload', link],
    ['POST', '/', link],
    ['GET', '/', { ...link, 'Sec-Fetch-Dest': 'iframe' }],
    ['GET', '/', { ...link, 'Sec-Fetch-Mode': 'no-cors' }],
    ['GET', '/', { ...link, Origin: 'https://evil.example' }],
  ]
  for (const [method, path, headers] of refused) {
    const answer = await ask(gate.admin, path, { method, headers })
    expect([method, path, answer.status, codeOf(answer)]).toEqual([method, path, 403, 'cross_origin'])
  }
  const rebound = await ask(gate.admin, '/', { headers: { ...link, Host: 'evil.example' } })
  expect(rebound.status).toBe(421)
})

test('with a token, only probes and the empty page go without', async () => {
  const gate = await serveWithAdmin({}, { token: TOKEN })
  for (const path of ['/healthz', '/readyz', '/', '/dashboard.js', '/dashboard.css', '/openapi.yaml']) {
    expect([path, (await ask(gate.admin, path)).status]).toEqual([path, 200])
  }
  for (const path of ['/metrics', '/api/status', '/api/policy', '/api/denials', '/api/tunnels', '/api/dns']) {
    const bare = await ask(gate.admin, path)
    expect([path, bare.status, codeOf(bare), bare.headers['www-authenticate']]).toEqual([
      path,
      401,
      'token_missing',
      'Bearer realm="sallyport"',
    ])
    const wrong = await ask(gate.admin, path, { headers: { Authorization: `Bearer ${TOKEN}x` } })
    expect([path, wrong.status, codeOf(wrong)]).toEqual([path, 401, 'token_wrong'])
    expect([path, (await ask(gate.admin, path, { headers: withToken })).status]).toEqual([path, 200])
  }
  expect((await ask(gate.admin, '/api/events')).status).toBe(401)
  const { body } = await ask(gate.admin, '/api/policy', { headers: withToken })
  expect(body).not.toContain(TOKEN)
})

test('nothing is changed without a token', async () => {
  const open = await serveWithAdmin()
  const unset = await ask(open.admin, '/api/reload', { method: 'POST' })
  expect([unset.status, codeOf(unset)]).toEqual([403, 'token_not_set'])

  const gate = await serveWithAdmin({}, { token: TOKEN })
  expect((await ask(gate.admin, '/api/reload', { method: 'POST' })).status).toBe(401)
  const get = await ask(gate.admin, '/api/reload', { headers: withToken })
  expect([get.status, get.headers.allow]).toEqual([405, 'POST'])
  expect(gate.records().map(({ event }) => event.action)).toEqual(['gate-started'])

  const done = await ask(gate.admin, '/api/reload', { method: 'POST', headers: withToken })
  expect(done.status).toBe(200)
  expect(JSON.parse(done.body)).toMatchObject({ ok: true, added: [], removed: [] })
  await until(() => gate.records().length > 1, 'the record')
  expect(gate.records().at(-1)).toMatchObject({
    event: { action: 'gate-reloaded' },
    sallyport: { trigger: 'admin' },
  })
})

test('the file of the token is read again when it changes, and the former one is good no more', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-token-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  const tokenFile = join(folder, 'token')
  writeFileSync(tokenFile, `${TOKEN}\n`)
  const gate = await serveWithAdmin({}, { tokenFile })
  const statusWith = async (token: string): Promise<number> =>
    (await ask(gate.admin, '/api/status', { headers: { Authorization: `Bearer ${token}` } })).status
  const has = (action: string): Promise<void> =>
    until(() => gate.records().some(({ event }) => event.action === action), action)
  expect(await statusWith(TOKEN)).toBe(200)

  const put = (text: string): void => {
    writeFileSync(`${tokenFile}.new`, text)
    renameSync(`${tokenFile}.new`, tokenFile)
  }
  put('short')
  await has('gate-reload-failed')
  expect(await statusWith(TOKEN)).toBe(200)
  put(`${TOKEN}-the-next\n`)
  await has('gate-reloaded')
  expect(await statusWith(TOKEN)).toBe(401)
  expect(await statusWith(`${TOKEN}-the-next`)).toBe(200)

  // Another file, or none, is none of the listener that is there: it would be open to everybody.
  writeFileSync(gate.file, gate.textWith({ admin: { listen: '127.0.0.1:0' } }))
  await until(() => gate.records().at(-1)?.sallyport['restart'] !== undefined, 'the next reload')
  expect(gate.records().at(-1)?.sallyport['restart']).toEqual(['admin'])
  expect(await statusWith('')).toBe(401)
  expect(await statusWith(`${TOKEN}-the-next`)).toBe(200)
})

test('bad requests get a clear error, no effect, and leave it standing', async () => {
  const gate = await serveWithAdmin({}, { token: TOKEN })
  const post = { method: 'POST', headers: withToken }
  const cases: readonly (readonly [string, number, string, Parameters<typeof ask>[2]?])[] = [
    ['/nothing', 404, 'not_found'],
    ['//api/status', 404, 'not_found'],
    ['/api/../../../../etc/passwd', 404, 'not_found'],
    ['/api/%2e%2e/status', 404, 'not_found'],
    [`/api/explain?target=${'x'.repeat(3000)}`, 414, 'url_too_long'],
    ['/api/explain', 400, 'bad_query', { headers: withToken }],
    [`/api/explain?target=${'x'.repeat(301)}`, 400, 'bad_query', { headers: withToken }],
    ['/api/explain?target=cgr.dev&client=nobody', 400, 'bad_query', { headers: withToken }],
    ['/api/tunnels?limit=0', 400, 'bad_query', { headers: withToken }],
    ['/api/denials?limit=1e9', 400, 'bad_query', { headers: withToken }],
    ['/api/events?actions=', 400, 'bad_query', { headers: withToken }],
    ['/api/events?actions=tunnel-denied,tunnel-denid', 400, 'bad_query', { headers: withToken }],
    ['/api/status', 405, 'method_not_allowed', { method: 'DELETE', headers: withToken }],
    ['/api/reload', 413, 'body_not_expected', { ...post, body: 'x'.repeat(100_000) }],
  ]
  for (const [path, status, code, options] of cases) {
    const answer = await ask(gate.admin, path, options)
    expect([path.slice(0, 40), answer.status, codeOf(answer)]).toEqual([path.slice(0, 40), status, code])
  }
  expect(await say(gate.admin, 'GET / HTTP/1.1\r\nBad Header\r\n\r\n')).toMatch(
    /^HTTP\/1.1 400 .*malformed_request/s,
  )
  expect(await say(gate.admin, '\x16\x03\x01\x02\x00\x01\x00')).toMatch(/^HTTP\/1.1 400 /)
  expect(
    await say(gate.admin, `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'y'.repeat(20_000)}\r\n\r\n`),
  ).toMatch(/^HTTP\/1.1 431 .*head_too_large/s)
  expect(await say(gate.admin, 'CONNECT cgr.dev:443 HTTP/1.1\r\nHost: cgr.dev:443\r\n\r\n')).toMatch(
    /^HTTP\/1.1 405 .*not_the_proxy/s,
  )
  expect(
    await say(gate.admin, 'GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n'),
  ).toMatch(/^HTTP\/1.1 (404|405) /)
  // A head that never ends is cut off.
  expect(await say(gate.admin, 'GET / HTTP/1.1\r\nHost: localhost\r\n')).toMatch(/^HTTP\/1.1 408 .*too_slow/s)
  expect((await ask(gate.admin, '/readyz')).status).toBe(200)
  expect(gate.records().map(({ event }) => event.action)).toEqual(['gate-started'])
  expect(gate.stderr()).toBe('')
}, 30_000)

test('who asks too often waits, and probes have a measure of their own', async () => {
  const gate = await serveWithAdmin()
  const answers = await askUntilRefused(gate.admin, '/api/policy')
  expect(answers.at(-1)).toEqual([429, 'too_many_requests'])
  expect(answers.filter(([status]) => status === 200).length).toBeGreaterThanOrEqual(100)
  expect((await ask(gate.admin, '/healthz')).status).toBe(200)
})

test('probes of one address take nothing from those of another', async () => {
  const gate = await serveWithAdmin()
  let answered = ''
  const flood = connect({ port: gate.admin, host: '127.0.0.1', localAddress: '127.0.0.2' })
  onTestFinished(() => void flood.destroy())
  flood.setEncoding('utf8').on('data', (text: string) => {
    answered += text
  })
  flood.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(400))
  await until(() => answered.split('HTTP/1.1 200').length > 50, 'answers')
  const probes = await Promise.all(Array.from({ length: 30 }, () => ask(gate.admin, '/healthz')))
  expect(probes.map(({ status }) => status)).toEqual(probes.map(() => 200))
})

test('who holds connections keeps no probe out, and ends no stream', async () => {
  const gate = await serveWithAdmin({}, { token: TOKEN })
  const open = (request: string, localAddress = '127.0.0.1'): Socket => {
    const socket = connect({ port: gate.admin, host: '127.0.0.1', localAddress })
    onTestFinished(() => void socket.destroy())
    socket.on('error', () => undefined)
    socket.write(request)
    return socket
  }
  const head = `HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer ${TOKEN}\r\n\r\n`
  const stream = open(`GET /api/events ${head}`)
  let streamed = ''
  stream.setEncoding('utf8').on('data', (text: string) => {
    streamed += text
  })
  await until(() => streamed.includes('retry: '), 'the stream')

  // Nothing asked, half a head, and a request without the token on a connection that stays: each by another address, since
  // who opens too many at once has to wait, and connections of the last turn may still be there.
  for (const [request, from] of [
    ['', '127.0.0.2'],
    ['GET / HTTP/1.1\r\n', '127.0.0.3'],
    ['GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n', '127.0.0.4'],
  ] as const) {
    const sockets = Array.from({ length: 140 }, () => open(request, from))
    await within(Promise.all(sockets.map((socket) => once(socket, 'connect'))), 'the connections')
    for (let i = 0; i < 3; i += 1) expect((await ask(gate.admin, '/healthz')).status).toBe(200)
    for (const socket of sockets) socket.destroy()
  }
  // The requests of the last turn have used up what may be asked at once.
  const statuses: number[] = []
  while (statuses.at(-1) !== 200 && statuses.length < 100) {
    const { status } = await ask(gate.admin, '/api/reload', { method: 'POST', headers: withToken })
    statuses.push(status)
  }
  expect(statuses.filter((status) => status !== 429)).toEqual([200])
  await until(() => streamed.includes('event: gate-reloaded'), 'the event')
})

/** Asks on one connection, a batch at once, until one is refused; statuses and codes, in turn. */
async function askUntilRefused(
  port: number,
  path: string,
): Promise<readonly (readonly [number, string | undefined])[]> {
  const socket = connect({ port, host: '127.0.0.1' })
  onTestFinished(() => void socket.destroy())
  let received = ''
  socket.setEncoding('utf8').on('data', (chunk: string) => {
    received += chunk
  })
  const [batch, most] = [200, 20]
  const answered = (): number => received.split('HTTP/1.1 ').length - 1
  for (let sent = batch; sent <= batch * most && !socket.readableEnded; sent += batch) {
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(batch))
    await until(() => answered() >= sent || socket.readableEnded, 'answers')
  }
  const answers = received.split('HTTP/1.1 ').slice(1)
  return answers.map((answer) => [Number.parseInt(answer, 10), /"code":"([a-z_]+)"/.exec(answer)?.[1]])
}
