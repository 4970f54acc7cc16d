/** `sallyport review --html`, looked at by a real browser. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Browser, BrowserContextOptions, Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { launchBrowser, missingBrowser } from '../support/browser.ts'
import { deniedLine } from '../support/audit-records.ts'
import { HOSTILE, sampleDenials } from '../support/sample-denials.ts'
import { run } from '../cli/run.ts'

const folder = mkdtempSync(join(tmpdir(), 'sallyport-page-'))
const file = join(folder, 'review.html')
// Where somebody wants to look at them.
const pictures = process.env['SCREENSHOTS'] ?? folder

beforeAll(async () => {
  const log = join(folder, 'audit.ndjson')
  const expected = join(folder, 'expected.yaml')
  writeFileSync(log, sampleDenials() + deniedLine({ host: 'cgr.dev', reason: 'malformed_authority' }))
  writeFileSync(
    expected,
    '- { host: telemetry.example.com, reason: host_not_allowed, owner: <b>web</b>, ticket: OPS-12 }\n',
  )
  const ended = await run(['review', '--no-memory', '--html', file, '--expected', expected, log])
  if (ended.code !== 0) throw new Error(ended.stderr)
})
afterAll(() => rmSync(folder, { recursive: true }))

test('one file: no address is named that a browser would fetch, and no text of a log is markup', () => {
  const page = readFileSync(file, 'utf8')
  expect(page).toContain('default-src &#39;none&#39;')
  expect(page.match(/<(?:link|img|iframe|object|embed|base|form[^>]*action|script[^>]*src)\b/g)).toBeNull()
  expect(page).not.toContain(HOSTILE)
  expect(page).not.toContain('<b>web')
  expect(page).toContain('&lt;img src=x onerror=')
})

describe.skipIf(missingBrowser !== undefined)(
  `in Chromium${missingBrowser ? `: ${missingBrowser}` : ''}`,
  () => {
    let browser: Browser
    beforeAll(async () => {
      browser = await launchBrowser()
    })
    afterAll(() => browser.close())

    /** What the page asks the network for, and what the browser complains about. */
    async function open(options: BrowserContextOptions = {}): Promise<{ page: Page; trouble: string[] }> {
      const page = await browser.newPage({ viewport: { width: 1280, height: 900 }, ...options })
      const trouble: string[] = []
      const url = pathToFileURL(file).href
      page.on('request', (request) => {
        if (request.url() !== url) trouble.push(`request ${request.url()}`)
      })
      page.on('console', (message) => trouble.push(message.text()))
      page.on('pageerror', (error) => trouble.push(String(error)))
      await page.goto(url)
      return { page, trouble }
    }

    const hostsOf = (page: Page): Promise<string[]> =>
      page.locator('#groups tbody tr:visible th').allTextContents()

    test('draws, fetches nothing, and runs nothing of the log', async () => {
      const { page, trouble } = await open()
      await page.locator('#timeline canvas').waitFor()
      expect(await page.title()).toContain('Denials, 2026-11-23')
      const painted = await page.evaluate<number>(`(() => {
      const canvas = document.querySelector('#timeline canvas')
      const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
      return new Set(new Uint32Array(data.buffer)).size
    })()`)
      // Axes and three reasons.
      expect(painted).toBeGreaterThan(4)
      expect(trouble).toEqual([])
      await page.screenshot({ path: join(pictures, 'light.png'), fullPage: true })
      await page.close()
    })

    test('sorts by keyboard and says so, and goes back to what needs attention', async () => {
      const { page } = await open()
      const original = await hostsOf(page)
      const head = page.locator('#groups thead th', { hasText: 'Denials' })
      await head.locator('button').focus()
      await page.keyboard.press('Enter')
      expect(await head.getAttribute('aria-sort')).toBe('descending')
      expect((await hostsOf(page))[0]).toBe('telemetry.example.com')
      await page.keyboard.press('Enter')
      expect(await head.getAttribute('aria-sort')).toBe('ascending')
      await page.keyboard.press('Enter')
      expect(await head.getAttribute('aria-sort')).toBeNull()
      expect(await hostsOf(page)).toEqual(original)
      await page.close()
    })

    test('searches every word, and counts what it found', async () => {
      const { page } = await open()
      await page.getByLabel('Search').fill('port_not CGR')
      expect(await hostsOf(page)).toEqual(['cgr.dev'])
      expect(await page.getByRole('status').textContent()).toMatch(/^1 of \d+$/)
      await page.getByLabel('Search').fill('expected ops-12')
      expect(await hostsOf(page)).toEqual(['telemetry.example.com'])
      await page.close()
    })

    test('has names for what it shows: the chart, the tables, the header cells', async () => {
      const { page } = await open()
      expect(await page.getByRole('img', { name: /Bar chart of denials over time/ }).count()).toBe(1)
      expect(await page.getByRole('region', { name: 'Table of denials' }).count()).toBe(1)
      expect(await page.locator('th:not([scope])').count()).toBe(await page.locator('.u-legend th').count())
      await page.getByText('The same figures as a table').click()
      const rows = page.locator('details tbody tr')
      expect(await rows.count()).toBeGreaterThan(10)
      await page.close()
    })

    test.for(['light', 'dark'] as const)(
      'all text has enough contrast when it is %s',
      async (colorScheme) => {
        const { page } = await open({ colorScheme })
        expect(await page.evaluate(LOW_CONTRAST)).toEqual([])
        await page.screenshot({ path: join(pictures, `${colorScheme}-top.png`) })
        await page.close()
      },
    )

    test('fits a phone: wide tables scroll by themselves', async () => {
      const { page, trouble } = await open({ viewport: { width: 360, height: 740 }, colorScheme: 'dark' })
      expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(360)
      expect(trouble).toEqual([])
      await page.screenshot({ path: join(pictures, 'phone.png'), fullPage: true })
      await page.close()
    })

    test.each([1300, 420])('breaks no reason in the middle of a word, %i px wide', async (width) => {
      const { page } = await open({ viewport: { width, height: 800 } })
      const broken = `[...document.querySelectorAll('th code, td code')].filter((code) =>
        code.closest('.prose') === null && code.getClientRects().length !== 1).map((code) => code.textContent)`
      expect(await page.evaluate(broken)).toEqual([])
      await page.close()
    })

    test('prints on white, in dark mode too', async () => {
      const { page } = await open({ colorScheme: 'dark' })
      await page.emulateMedia({ media: 'print', colorScheme: 'dark' })
      expect(await page.evaluate('getComputedStyle(document.body).backgroundColor')).toBe(
        'rgb(255, 255, 255)',
      )
      expect(await page.getByLabel('Search').isVisible()).toBe(false)
      await page.screenshot({ path: join(pictures, 'print.png'), fullPage: true })
      const pdf = await page.pdf({ format: 'A4', path: join(pictures, 'print.pdf') })
      expect(pdf.length).toBeGreaterThan(10_000)
      await page.close()
    })

    test('is whole without its script', async () => {
      const { page } = await open({ javaScriptEnabled: false })
      expect(await page.locator('#groups tbody tr').count()).toBeGreaterThan(5)
      expect(await page.getByLabel('Search').isVisible()).toBe(false)
      await page.close()
    })
  },
)

/** Texts below the 4.5:1 of WCAG 2.2 AA, by the colours that the browser computed. */
const LOW_CONTRAST = `(() => {
  const rgb = (text) => text.match(/[\\d.]+/g).map(Number)
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4))
    return 0.2126 * x + 0.7152 * y + 0.0722 * z
  }
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = rgb(getComputedStyle(at).backgroundColor)
      if (color[3] !== 0) return color
    }
  }
  const low = []
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement
    if (!walker.currentNode.data.trim() || element.closest('script, style')) continue
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))]
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    if (ratio < 4.5) low.push([walker.currentNode.data.slice(0, 30), ratio])
  }
  return low
})()`
