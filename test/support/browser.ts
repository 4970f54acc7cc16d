/** A real Chromium, where the machine has one. */
import { existsSync } from 'node:fs'
import { chromium, type Browser } from 'playwright-core'

const PLACES = [
  process.env['CHROMIUM'],
  '/usr/bin/chromium',
  '/usr/bin/chromium-browser',
  '/usr/bin/google-chrome',
]
const found = PLACES.find((place) => place !== undefined && existsSync(place))

export const missingBrowser = found === undefined ? 'needs chromium (apt-get install chromium)' : undefined

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    ...(found !== undefined && { executablePath: found }),
    // Its own sandbox needs user namespaces, which containers seldom have.
    args: ['--no-sandbox', '--disable-gpu'],
  })
}
