/** Records as a person at a terminal reads them: one line each, the verdict first. */
import { styleText } from 'node:util'
import { z } from 'zod'

/** The part of a record that the line shows; parsed back, so that the line shows what was recorded. */
const shown = z.object({
  '@timestamp': z.string(),
  log: z.object({ level: z.string() }),
  message: z.string(),
  source: z.object({ ip: z.string() }).optional(),
  user_agent: z.object({ original: z.string() }).optional(),
})

export function formatTerminalLine(line: string, color: boolean): string {
  const record = shown.parse(JSON.parse(line))
  const paint = (format: 'dim' | 'green' | 'yellow' | 'red', text: string): string =>
    color ? styleText(format, text, { validateStream: false }) : text
  const [verdict = '', ...rest] = record.message.split(' ')
  const level = record.log.level === 'info' ? 'green' : record.log.level === 'warn' ? 'yellow' : 'red'
  const client = [record.source?.ip, record.user_agent?.original]
    .filter((part) => part !== undefined)
    .join(' ')
  return [
    paint('dim', record['@timestamp'].slice(11, 19)),
    paint(level, verdict.padEnd(6)),
    rest.join(' '),
    ...(client === '' ? [] : [paint('dim', `(${client})`)]),
  ].join(' ')
}
