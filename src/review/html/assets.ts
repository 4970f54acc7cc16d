/** What the page carries along: its style, its script and the library that draws. Read when a page is written. */
import { readFileSync } from 'node:fs'

export interface Assets {
  readonly style: string
  readonly script: string
}

export function readAssets(): Assets {
  const own = (name: string): string => readFileSync(new URL(`assets/${name}`, import.meta.url), 'utf8')
  const library = (name: string): string =>
    readFileSync(new URL(import.meta.resolve(`uplot/dist/${name}`)), 'utf8')
  return {
    style: library('uPlot.min.css') + own('page.css'),
    script: [library('uPlot.iife.min.js'), own('timeline.js'), own('table.js')].join('\n'),
  }
}
