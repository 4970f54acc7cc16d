/** The dashboard in a real Chromium, before a real gate, with denials made by curl. */
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { describe, expect, onTestFinished, test } from 'vitest'
import { z } from 'zod'
import { ROOT } from '../cli/run.ts'
import { holdStream, serveWithAdmin, TOKEN, type AdminGate } from '../support/admin.ts'
import { chromium, Page } from '../support/chromium.ts'
import { within } from '../support/deadline.ts'
import { addresses, NODATA } from '../support/dns-scripts.ts'
import { DnsServer } from '../support/dns-server.ts'
import { connectRequest } from '../support/lab.ts'
import { RawClient } from '../support/raw-client.ts'

const run = promisify(execFile)
const missing =
  chromium === undefined ? 'Chromium is not installed' : existsSync('/usr/bin/curl') ? '' : 'no curl'

/** A denial, as curl makes one. */
async function curl(gate: AdminGate, target: string): Promise<void> {
  const args = ['-sS', '-m', '10', '-x', `http://127.0.0.1:${gate.port}`, `https://${target}/`]
  await run('curl', args, { env: { PATH: process.env['PATH'] ?? '', no_proxy: '' } }).catch(() => undefined)
}

describe.runIf(missing === '')(`the dashboard${missing && ` (skipped: ${missing})`}`, () => {
  test.each([1, 2])('shows a denial made by curl within a second, workers: %i', async (workers) => {
    const gate = await serveWithAdmin({ workers })
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    await page.until(`document.querySelector('#state')?.textContent === 'ready'`, 'the page to be there')
    expect(await page.evaluate(`document.querySelector('#no-denials').hidden`)).toBe(false)

    await curl(gate, 'cgr.dv')
    const tookMs = await page.until(
      `document.querySelector('#denials tr')?.innerText.includes('cgr.dv') === true`,
      'the denial to appear',
    )
    expect(tookMs).toBeLessThan(1000)
    const shown = String(await page.evaluate(`document.querySelector('#denials tr').innerText`))
    expect(shown).toContain('host_not_allowed')
    expect(shown).toContain('did you mean cgr.dev')
    expect(shown).toContain('curl/')
    // The near miss is marked where it misses.
    expect(await page.evaluate(`document.querySelector('#denials .hint mark').textContent`)).toBe('e')
    expect(page.complaints).toEqual([])
  })

  test('shows denials also where no stream is to be had, says so, and follows once there is', async () => {
    const gate = await serveWithAdmin()
    const streams = await Promise.all(Array.from({ length: 32 }, () => holdStream(gate.admin)))
    for (const target of ['cgr.dv', 'github.com']) await curl(gate, target)
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    const rows = `[...document.querySelectorAll('#denials tr')].length`
    const lag = `document.querySelector('#lag').textContent`
    await page.until(`${rows} === 2`, 'the denials')
    await page.until(`${lag}.includes('32 streams are open')`, 'why they are not live')
    expect(await page.evaluate(`document.querySelector('#no-denials').hidden`)).toBe(true)
    // What is new is asked for.
    await curl(gate, 'example.com')
    await page.until(`${rows} === 3`, 'the next denial')

    for (const stream of streams) stream.destroy()
    await page.until(`${lag} === ''`, 'a stream')
    await curl(gate, 'example.org')
    await page.until(`${rows} === 4`, 'the denial that comes by it')
  })

  test('shows the policy in force after a reload and after a restart', async () => {
    const gate = await serveWithAdmin()
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    const rules = `document.querySelector('#rules').innerText`
    await page.until(`${rules}.includes('cgr.dev:${gate.origin}')`, 'the policy')

    const allowing = (host: string) => ({ policy: { presets: [], allow: [{ host }] } })
    const admin = { listen: `127.0.0.1:${gate.admin}` }
    writeFileSync(gate.file, gate.textWith(allowing('after-reload.example')))
    gate.child.kill('SIGHUP')
    await page.until(`${rules}.includes('after-reload.example')`, 'the policy after the reload')

    gate.child.kill('SIGKILL')
    await gate.end()
    await serveWithAdmin(allowing('after-restart.example'), admin)
    await page.until(`${rules}.includes('after-restart.example')`, 'the policy after the restart')
    expect(await page.evaluate(`${rules}.includes('after-reload.example')`)).toBe(false)
  })

  test('claims nothing before there is an answer', async () => {
    const page = readFileSync(join(ROOT, 'src/admin/page/index.html'), 'utf8')
    for (const id of ['no-denials', 'no-dns', 'no-tunnels'])
      expect(page).toContain(`<p id="${id}" class="quiet empty">loading…</p>`)
    const gate = await serveWithAdmin()
    const dashboard = await Page.open()
    await dashboard.go(`http://127.0.0.1:${gate.admin}/`)
    const said = `[...document.querySelectorAll('.empty')].map((one) => one.textContent).join(' ')`
    await dashboard.until(
      `${said} === 'Nothing has been denied. No answer is in the cache. No tunnel is open.'`,
      'what the gate says',
    )
  })

  test('asks for the token, and does with it what it did without', async () => {
    const gate = await serveWithAdmin({}, { token: TOKEN })
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    await page.until(`document.querySelector('#login')?.hidden === false`, 'the question for the token')
    expect(await page.evaluate(`document.querySelector('#main').hidden`)).toBe(true)
    // Without the token this link leads nowhere.
    expect(await page.evaluate(`document.querySelector('#metrics').hidden`)).toBe(true)
    await page.evaluate(`document.querySelector('#token').value = ${JSON.stringify(TOKEN)}`)
    await page.evaluate(`document.querySelector('#login').requestSubmit()`)
    await page.until(`document.querySelector('#state').textContent === 'ready'`, 'the gate to be ready')
    await curl(gate, 'cgr.dv')
    await page.until(
      `document.querySelector('#denials tr')?.innerText.includes('cgr.dv') === true`,
      'the denial',
    )
    await page.evaluate(`document.querySelector('#reload').click()`)
    await page.until(
      `document.querySelector('#policy-facts').textContent.includes('sha256:')`,
      'the policy after a reload',
    )
    // The only complaints are those of the requests that came without the token.
    expect(page.complaints.filter((text) => !text.includes('401'))).toEqual([])
  })

  test('shows what clients have besides: their rules, which end, and their mode', async () => {
    const day = new Date(Date.now() + 2 * 86_400_000).toISOString().slice(0, 10)
    const gate = await serveWithAdmin({
      clients: {
        rules: [
          {
            name: 'ci',
            from: ['10.2.0.0/16'],
            policy: { mode: 'report', allow: [{ host: 'ci.example', expires: day }] },
          },
        ],
      },
    })
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    await page.until(`document.querySelector('#rules tr') !== null`, 'the policy')
    const rows = String(await page.evaluate(`document.querySelector('#rules').innerText`))
    expect(rows).toMatch(new RegExp(`ci: ci\\.example:443[^]*${day}, in [23] days`))
    expect(await page.evaluate(`document.querySelector('#policy-facts').textContent`)).toContain(
      'client ci: mode report, sni off',
    )
    expect(page.complaints).toEqual([])
  })

  test('opens by a link of another site, which cannot read it', async () => {
    const gate = await serveWithAdmin()
    const admin = `http://127.0.0.1:${gate.admin}/`
    const other = createServer((_request, response) => {
      response.setHeader('Content-Type', 'text/html')
      response.end(`<a href="${admin}">gate</a>`)
    })
    onTestFinished(() => {
      other.closeAllConnections()
      other.close()
    })
    other.listen(0, 'localhost')
    await within(once(other, 'listening'), 'the other site')
    const address = other.address()
    const port = address !== null && typeof address === 'object' ? address.port : 0
    const page = await Page.open()
    await page.go(`http://localhost:${port}/`)
    await page.until(`document.querySelector('a')?.textContent === 'gate'`, 'the page with the link')
    const read = (mode: string) =>
      `fetch('${admin}', { mode: '${mode}' }).then(() => 'read', () => 'refused')`
    for (const mode of ['cors', 'no-cors']) expect(await page.evaluate(read(mode))).toBe('refused')
    await page.evaluate(`document.querySelector('a').click()`)
    await page.until(`document.querySelector('#state')?.textContent === 'ready'`, 'the dashboard')
    expect(await page.evaluate('location.href')).toBe(admin)
  })

  test('text of strangers stays text', async () => {
    const gate = await serveWithAdmin()
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    await page.until(`document.querySelector('#state')?.textContent === 'ready'`, 'the page to be there')
    const client = await RawClient.connect(gate.port)
    onTestFinished(() => client.destroy())
    const evil = '<img src=x onerror=document.title=1>'
    await client.send(`CONNECT cgr.dv:443 HTTP/1.1\r\nHost: cgr.dv\r\nUser-Agent: ${evil}\r\n\r\n`)
    await page.until(`document.querySelector('#denials tr') !== null`, 'the denial')
    expect(await page.evaluate(`document.querySelectorAll('#denials img').length`)).toBe(0)
    expect(await page.evaluate(`document.querySelector('#denials').innerText`)).toContain('\\x3cimg')
    expect(await page.evaluate('document.title')).toBe('Sallyport')
  })

  test('can be used with a keyboard, and read by a screen reader', async () => {
    const gate = await serveWithAdmin()
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    await page.until(`document.querySelector('#rules tr') !== null`, 'the page to be there')
    // To the explain box by Tab alone, and an answer by Enter.
    await page.press('Tab', 9)
    expect(await page.evaluate('document.activeElement.className')).toBe('skip')
    for (let i = 0; i < 20 && (await page.evaluate('document.activeElement.id')) !== 'target'; i += 1)
      await page.press('Tab', 9)
    expect(await page.evaluate('document.activeElement.id')).toBe('target')
    await page.send('Input.insertText', { text: 'cgr.dv' })
    await page.press('Enter', 13)
    await page.until(`document.querySelector('#explained .verdict') !== null`, 'the explanation')
    expect(await page.evaluate(`document.querySelector('#explained').innerText`)).toContain(
      'host_not_allowed',
    )

    const node = z.looseObject({
      ignored: z.boolean(),
      role: z.looseObject({ value: z.string() }).optional(),
      name: z.looseObject({ value: z.string().optional() }).optional(),
    })
    const tree = z.object({ nodes: z.array(node) }).parse(await page.send('Accessibility.getFullAXTree'))
    const seen = tree.nodes.filter(({ ignored }) => !ignored)
    const named = (role: string): readonly string[] =>
      seen.filter((one) => one.role?.value === role).map((one) => one.name?.value ?? '')
    expect(named('heading')).toEqual([
      'Sallyport',
      'The last hour',
      'Denied and failed',
      'Would it be allowed?',
      'DNS answers',
      'Open tunnels',
      'Policy',
    ])
    expect(named('image')[0]).toMatch(/^In the last hour \d+ attempts were allowed/)
    for (const role of ['button', 'textbox', 'link', 'region'])
      expect(named(role).filter((name) => name === '')).toEqual([])
  })

  test('has room for the longest names on a narrow screen', async () => {
    const long = (letter: string): string => `${`${letter.repeat(63)}.`.repeat(3)}example`
    const gate = await serveWithAdmin((port) => ({
      policy: { presets: [], allow: [{ host: long('a'), port, owner: 'o'.repeat(60) }], sni: 'off' },
      dns: { hosts: { [long('a')]: ['127.0.0.1'] } },
    }))
    await carry(gate, long('a'), 10)
    await curl(gate, long('b'))
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    for (const rows of ['denials', 'tunnels', 'dns', 'rules'])
      await page.until(`document.querySelector('#${rows} tr') !== null`, rows)
    await page.evaluate(`document.querySelector('#denials button').click()`)
    await page.until(`document.querySelector('#explained .verdict') !== null`, 'the explanation')
    const cut = `[...document.querySelectorAll('.panel, .scroll')].filter((one) => one.scrollWidth > one.clientWidth).length`
    for (const width of [700, 1180, 360, 320]) {
      await page.picture(width, 'light', width < 500)
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
    }
    // On a phone nothing is to the side of a list either: cards have no reason to be moved.
    expect(await page.evaluate(cut)).toBe(0)
  })

  test('looks as in docs/images', async () => {
    const dns = await DnsServer.start()
    onTestFinished(() => dns.close())
    const gate = await openGallery(dns)
    const page = await Page.open()
    await page.go(`http://127.0.0.1:${gate.admin}/`)
    await page.until(`document.querySelector('#state')?.textContent === 'ready'`, 'the page to be there')
    await carry(gate, 'cgr.dev', 300_000)
    await carry(gate, 'cgr.dev', 2000)
    await carry(gate, 'registry.example.com', 90)
    for (const target of [
      'registry-1.docker.io',
      'github.com',
      'cgr.dev:8443',
      'consol.chainguard.dev',
      'cgr.dv',
    ])
      await curl(gate, target)
    await page.until(`document.querySelectorAll('#denials tr').length === 5`, 'five denials')
    await page.until(`document.querySelectorAll('#tunnels tr').length === 3`, 'three tunnels')
    await page.evaluate(`document.querySelector('#denials button').click()`)
    await page.until(`document.querySelector('#explained .verdict') !== null`, 'the explanation')
    await page.evaluate('scrollTo(0, 0)')
    const pictures = [
      { name: 'dashboard-light', width: 1180, scheme: 'light', mobile: false },
      { name: 'dashboard-dark', width: 1180, scheme: 'dark', mobile: false },
      { name: 'dashboard-phone', width: 390, scheme: 'light', mobile: true },
    ] as const
    // Kept only when asked for: SALLYPORT_PICTURES=docs/images.
    const folder = process.env['SALLYPORT_PICTURES']
    for (const { name, width, scheme, mobile } of pictures) {
      const png = await page.picture(width, scheme, mobile)
      // Nothing sticks out to the side.
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBeLessThanOrEqual(width)
      expect(png.length).toBeGreaterThan(10_000)
      if (folder === undefined) continue
      mkdirSync(join(ROOT, folder), { recursive: true })
      writeFileSync(join(ROOT, folder, `${name}.png`), png)
    }
    expect(page.complaints).toEqual([])
  })
})

/** Something to look at: answers from a resolver, owners and dates. */
function openGallery(dns: DnsServer): Promise<AdminGate> {
  const day = (days: number): string => new Date(Date.now() + days * 86_400_000).toISOString().slice(0, 10)
  dns.on('cgr.dev', 'A', addresses(60, '127.0.0.1', '127.0.0.2')).on('cgr.dev', 'AAAA', NODATA)
  dns.on('registry.example.com', 'A', addresses(300, '127.0.0.1')).on('registry.example.com', 'AAAA', NODATA)
  return serveWithAdmin((port) => ({
    dns: { servers: [dns.address] },
    policy: {
      allow: [
        { host: 'cgr.dev', port, owner: 'platform', reason: 'the same, for this picture' },
        { host: 'registry.example.com', port, owner: 'platform', reason: 'base images', expires: day(9) },
        { host: '*.mirror.example.com', owner: 'build', reason: 'package mirror', expires: day(200) },
        {
          host: 'old.example.com',
          owner: 'payments',
          reason: 'until the move is done',
          expires: '2026-01-31',
        },
      ],
      deny: [
        { host: 'chainguardhelp.zendesk.com', owner: 'security', reason: 'no chats from build machines' },
      ],
      sni: 'off',
    },
  }))
}

async function carry(gate: AdminGate, host: string, bytes: number): Promise<void> {
  const client = await RawClient.connect(gate.port)
  onTestFinished(() => client.destroy())
  await client.send(connectRequest(`${host}:${gate.origin}`))
  expect((await client.reply()).status).toBe(200)
  await client.send('x'.repeat(bytes))
  await client.bytes(bytes)
}
