/** The review as a table for a terminal or a pipe. */
import { styleText } from 'node:util'
import { printable } from '../doctor/printable.ts'
import type { GroupField } from './aggregate.ts'
import type { ReportedGroup, Review } from './report.ts'
import { sparkline } from './sparkline.ts'
import { formatCount, formatMinute, shown, statusWord, summaryLine } from './words.ts'

export interface TableOptions {
  readonly groupBy: readonly GroupField[]
  readonly color: boolean
  /** Columns of the terminal; unlimited in a pipe. */
  readonly width?: number
  /** The most groups that are listed. */
  readonly limit: number
}

interface Column {
  readonly title: string
  readonly right?: boolean
  /** Left out, the highest first, where the terminal is too narrow. */
  readonly spare?: number
  readonly cell: (group: ReportedGroup) => string
}

const SPARK_WIDTH = 16

export function formatTable(review: Review, options: TableOptions): string {
  const listed = review.groups.slice(0, options.limit)
  const lines = [summaryLine(review)]
  if (listed.length > 0) {
    const rows = layOut(columnsFor(review, options), listed, options.width)
    const [head = '', ...body] = rows
    lines.push('', paint(options, 'dim', head))
    for (const [index, row] of body.entries()) {
      const group = listed[index]
      lines.push(group ? tint(row, group, review, options) : row)
    }
    if (review.groups.length > listed.length) {
      const more = review.groups.length - listed.length
      lines.push(`… and ${formatCount(more)} more; --limit 0 lists them all`)
    }
  }
  return `${lines.join('\n')}\n`
}

function columnsFor(review: Review, { groupBy }: TableOptions): readonly Column[] {
  const { from, to } = review
  const words = new Set(review.groups.map((group) => statusWord(group, review)))
  const titles: Record<GroupField, string> = {
    host: 'HOST',
    port: 'PORT',
    reason: 'REASON',
    client: 'CLIENT',
    user: 'USER',
    node: 'NODE',
  }
  return [
    ...(words.size === 1 && words.has('')
      ? []
      : [{ title: '', cell: (group: ReportedGroup) => statusWord(group, review) }]),
    { title: 'DENIALS', right: true, cell: ({ count }) => formatCount(count) },
    ...groupBy.map((field): Column => ({
      title: titles[field],
      right: field === 'port',
      cell: (group) => shown(group, field, 64),
    })),
    ...(groupBy.includes('client')
      ? []
      : [{ title: 'CLIENTS', right: true, cell: ({ clients }: ReportedGroup) => formatCount(clients) }]),
    { title: 'FIRST', spare: 2, cell: ({ first }) => formatMinute(first) },
    { title: 'LAST', spare: 1, cell: ({ last }) => formatMinute(last) },
    {
      title: 'OVER TIME',
      spare: 3,
      cell: ({ bins }) => (from === null || to === null ? '' : sparkline(bins, from, to, SPARK_WIDTH)),
    },
    { title: 'HINT', cell: ({ hint }) => (hint === null ? '' : printable(hint, 60)) },
  ]
}

function layOut(
  columns: readonly Column[],
  groups: readonly ReportedGroup[],
  width = Number.POSITIVE_INFINITY,
): readonly string[] {
  const cells = groups.map((group) => columns.map((column) => column.cell(group)))
  const widths = columns.map((column, index) =>
    cells.reduce((widest, row) => Math.max(widest, row[index]?.length ?? 0), column.title.length),
  )
  const left = new Set(columns.keys())
  const total = (): number => [...left].reduce((sum, index) => sum + (widths[index] ?? 0) + 2, -2)
  const spare = [...left]
    .filter((index) => columns[index]?.spare !== undefined)
    .toSorted((a, b) => (columns[b]?.spare ?? 0) - (columns[a]?.spare ?? 0))
  for (const index of spare) if (total() > width) left.delete(index)
  const line = (row: readonly string[]): string => {
    const parts = [...left].map((index) => {
      const cell = row[index] ?? ''
      return columns[index]?.right ? cell.padStart(widths[index] ?? 0) : cell.padEnd(widths[index] ?? 0)
    })
    return parts.join('  ').trimEnd().slice(0, width)
  }
  return [line(columns.map(({ title }) => title)), ...cells.map(line)]
}

function tint(row: string, group: ReportedGroup, review: Review, options: TableOptions): string {
  if (group.expectation.kind === 'expected') return paint(options, 'dim', row)
  if (group.expectation.kind === 'expired') return paint(options, 'yellow', row)
  return review.lastReview !== null && group.news === 'new' ? paint(options, 'bold', row) : row
}

function paint({ color }: TableOptions, format: 'dim' | 'bold' | 'yellow', text: string): string {
  return color ? styleText(format, text, { validateStream: false }) : text
}
