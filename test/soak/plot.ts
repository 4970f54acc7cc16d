/** The samples as a line of text, and as a small SVG. Pure. */
import { format, WARM_UP, type Measure, type Sample } from './verdict.ts'

const BARS = '▁▂▃▄▅▆▇█'
const SHOWN: readonly Measure[] = ['rssBytes', 'heapBytes', 'descriptors', 'timers', 'tunnels']

/** One line for each measure: its least, a curve from nothing to its most, its most. */
export function plotText(samples: readonly Sample[], width = 60): string {
  return SHOWN.map((measure) => {
    const values = samples.map((sample) => sample[measure])
    const most = Math.max(1, ...values)
    const columns = Array.from({ length: Math.min(width, values.length) }, (_, column) => {
      const value = values[Math.floor((column * values.length) / Math.min(width, values.length))] ?? 0
      return BARS[Math.min(BARS.length - 1, Math.floor((value / most) * BARS.length))] ?? ''
    })
    return `${measure.padEnd(12)} ${columns.join('')} ${format(measure, Math.min(...values))} to ${format(measure, most)}`
  }).join('\n')
}

const [WIDTH, HEIGHT, GAP] = [640, 70, 34]

export function plotSvg(samples: readonly Sample[], title: string): string {
  const end = Math.max(1, samples.at(-1)?.seconds ?? 1)
  const charts = SHOWN.map((measure, index) => {
    const most = Math.max(1, ...samples.map((sample) => sample[measure]))
    const top = GAP + index * (HEIGHT + GAP)
    const points = samples
      .map((sample) => {
        const x = 20 + (sample.seconds / end) * WIDTH
        return `${x.toFixed(1)},${(top + HEIGHT - (sample[measure] / most) * HEIGHT).toFixed(1)}`
      })
      .join(' ')
    return `<text x="20" y="${top - 6}">${measure}, most ${format(measure, most)}</text>
<rect x="20" y="${top}" width="${WIDTH}" height="${HEIGHT}" fill="#f6f7f9"/>
<rect x="20" y="${top}" width="${WIDTH * WARM_UP}" height="${HEIGHT}" fill="#eceef2"/>
<polyline points="${points}" fill="none" stroke="#2458b3" stroke-width="1.5"/>`
  })
  const height = GAP + SHOWN.length * (HEIGHT + GAP)
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH + 40}" height="${height}" font-family="sans-serif" font-size="12" role="img" aria-label="${title}">
<rect width="100%" height="100%" fill="white"/>
<text x="20" y="14" font-weight="bold">${title}; ${Math.round(end)} s, the warm-up is darker</text>
${charts.join('\n')}
</svg>
`
}
