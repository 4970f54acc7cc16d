/** The review as one file for a browser: nothing is fetched, and nothing in it can run but its own script. */
import { createHash } from 'node:crypto'
import type { Review } from '../report.ts'
import { formatMinute, notesOf, summaryLine } from '../words.ts'
import type { Assets } from './assets.ts'
import { Markup, markup } from './markup.ts'
import { figures, nearMisses, reasons, topLists } from './overview.ts'
import { denialTable } from './table.ts'
import { timelineSection } from './timeline-section.ts'

export interface PageContext {
  readonly nowMs: number
  /** Names of the inputs. */
  readonly inputs: readonly string[]
  /** The filters in words, where there are any. */
  readonly only: readonly string[]
  readonly assets: Assets
}

export function toHtml(review: Review, { nowMs, inputs, only, assets }: PageContext): string {
  const { style, script } = assets
  // A script element ends at the first `</script`, whatever it means to the script.
  if (/<\/(script|style)/i.test(script + style)) throw new Error('an asset would end its own element')
  const policy = [
    "default-src 'none'",
    `script-src '${hashOf(script)}'`,
    `style-src '${hashOf(style)}'`,
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  const { from, to } = review
  const span = from === null || to === null ? '' : `, ${formatMinute(from)} to ${formatMinute(to)} UTC`
  const page = markup`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>Denials${span}</title>
<style>${new Markup(style)}</style>
</head>
<body>
<a class="skip" href="#denials">Skip to the table of denials</a>
<header>
<h1>Denials</h1>
<p class="lead">${summaryLine(review)}</p>
${only.length === 0 ? null : markup`<p class="note">Only a part is shown: ${only.join('; ')}.</p>`}
${notesOf(review).map((note) => markup`<p class="note">${note}.</p>`)}
</header>
<main>
${figures(review)}
${timelineSection(review)}
${reasons(review)}
${topLists(review)}
${nearMisses(review)}
${denialTable(review)}
</main>
<footer><p>Written by <code>sallyport review</code> on ${formatMinute(nowMs)} UTC from ${inputs.join(', ')}.
All times are UTC.</p></footer>
<script>${new Markup(script)}</script>
</body>
</html>
`
  return page.text
}

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}
