/** Tables (Markdown) and the JSON file. */
import { summary, type Measure, type Values } from './measures.ts'
import type { Proxy } from './proxies.ts'
import type { Options } from './options.ts'
import type { Machine } from './versions.ts'

export interface Results {
  readonly machine: Machine
  readonly options: Options
  readonly proxies: readonly Proxy[]
  readonly measures: readonly Measure[]
  readonly values: ReadonlyMap<string, Values>
}

export function formatMachine({ machine, options, proxies }: Results): string {
  const { cpu, cores, memory, kernel, node } = machine
  const versions = proxies.map(({ title, version }) => `${title} ${version}`).join(', ')
  return `${cores} cores, ${cpu}, ${memory}, ${kernel}, node ${node}
${options.rounds} rounds, ${options.seconds} s for each load; ${versions}
`
}

/** A row for each measure, a column for each proxy. */
export function formatValues({ proxies, measures, values }: Results): string {
  const rows = measures.map(({ key, title, digits }) => [
    title,
    ...proxies.map(({ name }) => format(valueOf(values, name, key), digits)),
  ])
  return table(['', ...proxies.map(({ title }) => title)], rows)
}

const OURS = ['kernel', 'portable']
const YARDSTICKS = ['limit', 'squid', 'pipe']

/** What Sallyport takes for each unit that a yardstick takes. Empty when there is nothing to compare. */
export function formatRatios({ proxies, measures, values }: Results): string {
  const names = new Set(proxies.map(({ name }) => name))
  const pairs = OURS.flatMap((ours) => YARDSTICKS.map((yardstick) => [ours, yardstick] as const)).filter(
    (pair) => pair.every((name) => names.has(name)),
  )
  if (pairs.length === 0) return ''
  const rows = measures
    .filter(({ comparable }) => comparable)
    .map(({ key, title }) => {
      const ratios = pairs.map(([ours, yardstick]) => format(ratio(values, ours, yardstick, key), 2))
      // Ratios have no unit.
      return [title.replace(/, [^,]+$/, '')].concat(ratios)
    })
  return table(['', ...pairs.map(([ours, yardstick]) => `${ours} / ${yardstick}`)], rows)
}

export function toJson({ machine, options, proxies, measures, values }: Results): string {
  const { rounds, seconds, idle } = options
  const results = proxies.map(({ name, version }) => {
    const medians = measures.map(({ key }) => [key, valueOf(values, name, key) ?? null] as const)
    const each = Object.fromEntries(values.get(name) ?? [])
    return [name, { version, medians: Object.fromEntries(medians), each }] as const
  })
  const date = new Date().toISOString()
  return `${JSON.stringify({ date, machine, rounds, seconds, idle, proxies: Object.fromEntries(results) }, null, 2)}\n`
}

function valueOf(values: Results['values'], name: string, key: string): number | undefined {
  const own = values.get(name)
  return own && summary(own, key)
}

function ratio(values: Results['values'], a: string, b: string, key: string): number | undefined {
  const [above, below] = [valueOf(values, a, key), valueOf(values, b, key)]
  return above !== undefined && below !== undefined && above >= 0 && below > 0 ? above / below : undefined
}

function format(value: number | undefined, digits: number): string {
  return value === undefined ? '-' : value.toFixed(digits)
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) =>
    Math.max(3, title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  )
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0))).join(' | ')} |\n`
  const rule = widths.map((width, column) => (column === 0 ? '-'.repeat(width) : `${'-'.repeat(width - 1)}:`))
  return line(head) + line(rule) + rows.map(line).join('')
}
