/** The report as a person reads it: a block for each host with a line for each step, and the verdict last. Pure. */
import { styleText } from 'node:util'
import type { DoctorReport, HostReport, Step } from './report.ts'
import type { Advice } from './verdict.ts'

export interface TextOptions {
  readonly color: boolean
  /** Columns to wrap at; absent in a pipe, where each step stays one line. */
  readonly width?: number
}

type Format = Parameters<typeof styleText>[0]

export function formatReport(report: DoctorReport, options: TextOptions): string {
  const blocks = report.hosts.map((host) => formatHost(host, options))
  const notProbed = report.notProbed.map(({ rule, why }) => hang(`not probed  ${rule}: `, why, options))
  return [
    ...blocks,
    ...(notProbed.length > 0 ? [notProbed.join('')] : []),
    formatVerdict(report, options),
  ].join('\n')
}

const MARKS = { ok: ['ok', 'green'], note: ['note', 'yellow'], fail: ['FAIL', 'red'] } as const
const STATUS = {
  well: ['well', 'green'],
  finding: ['FAIL', 'red'],
  unfinished: ['unfinished', 'yellow'],
} as const

function formatHost({ host, port, status, steps }: HostReport, options: TextOptions): string {
  const [word, color] = STATUS[status]
  const title = `${paint(options, 'bold', `${host}:${port}`)}  ${paint(options, color, word)}\n`
  const rest = status === 'unfinished' ? ['  (the run ended before the next step had its answer)\n'] : []
  return [title, ...steps.map((step) => formatStep(step, options)), ...rest].join('')
}

function formatStep(step: Step, options: TextOptions): string {
  const [word, color] = MARKS[step.mark]
  const head = `  ${step.name.padEnd(7)}  ${word.padEnd(4)}  ${`${step.durationMs} ms`.padStart(8)}  `
  const painted = head.replace(word, paint(options, color, word))
  return hang(painted, step.text, options, head.length)
}

function formatVerdict({ verdict, durationMs, timeLimitMs }: DoctorReport, options: TextOptions): string {
  const color = verdict.status === 'well' ? 'green' : verdict.status === 'finding' ? 'red' : 'yellow'
  const spent = `${(durationMs / 1000).toFixed(1)} s, of at most ${timeLimitMs / 1000} s`
  const head = paint(options, ['bold', color], 'Verdict')
  return [
    hang(`${head}  `, `${verdict.summary} (${spent})`, options, 'Verdict  '.length),
    ...verdict.advice.map((advice) => `\n${formatAdvice(advice, options)}`),
    ...verdict.notes.map((note) => `\n${hang('  ', note, options)}`),
  ].join('')
}

const OWNERS = {
  network: 'network team',
  dns: 'DNS team',
  proxy: "proxy's team",
  policy: "policy's owner",
  clock: 'this machine',
  host: "host's owner",
} as const

function formatAdvice({ owner, ask, meaning, hosts, code }: Advice, options: TextOptions): string {
  const who = `  ${OWNERS[owner].padEnd(WHO_WIDTH)}  `
  const indent = ' '.repeat(who.length)
  const details = new Set(hosts.map((host) => host.detail))
  const names = hosts.map((host) => `${host.host}:${host.port}`)
  const width = Math.max(...names.map((name) => name.length))
  const shared = hosts.length > 1 && details.size === 1
  return [
    hang(paint(options, 'bold', who), `${sentence(ask)}.`, options, who.length),
    hang(indent, `${meaning} (${code})${shared ? `: ${[...details].join('')}` : ''}.`, options),
    ...hosts.map((host, index) =>
      shared
        ? `${HOST_INDENT}${names[index]}\n`
        : hang(`${HOST_INDENT}${(names[index] ?? '').padEnd(width)}  `, host.detail, options),
    ),
  ].join('')
}

/** Less than the words above have: some hosts have long names, and a name that is broken cannot be copied. */
const HOST_INDENT = '      '
const WHO_WIDTH = Math.max(...Object.values(OWNERS).map((who) => who.length))

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1)
}

/** Narrower than this, a column of words is harder to read than a broken line. */
const NARROWEST = 24
/** Where the text goes when its head leaves no room. */
const BELOW = 10

/** `head`, then the text, wrapped under its own beginning where a width is given. */
function hang(head: string, text: string, { width }: TextOptions, headWidth = head.length): string {
  if (width === undefined) return `${head}${text}\n`
  // A head that leaves no room is followed by the text on lines of its own.
  const fits = width - headWidth >= NARROWEST
  const indent = fits ? headWidth : BELOW
  const lines = wrap(text, Math.max(width - indent, NARROWEST))
  const first = fits ? head : `${head.trimEnd()}\n${' '.repeat(indent)}`
  return `${first}${lines.join(`\n${' '.repeat(indent)}`)}\n`
}

function wrap(text: string, width: number): readonly string[] {
  const lines: string[] = []
  let line = ''
  for (let word of text.split(' ')) {
    if (line !== '' && line.length + 1 + word.length > width) {
      lines.push(line)
      line = ''
    }
    while (word.length > width) {
      lines.push(word.slice(0, width))
      word = word.slice(width)
    }
    line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}

function paint({ color }: TextOptions, format: Format, text: string): string {
  return color ? styleText(format, text, { validateStream: false }) : text
}
