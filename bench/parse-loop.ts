/** What review is measured against: every line of a file parsed, and nothing done with it. */
import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'

const [file = ''] = process.argv.slice(2)
let denials = 0
createInterface({ input: createReadStream(file, { highWaterMark: 1024 * 1024 }) })
  .on('line', (line) => {
    const record: { readonly event: { readonly action: string } } = JSON.parse(line)
    if (record.event.action === 'tunnel-denied') denials += 1
  })
  .on('close', () => process.stdout.write(`${JSON.stringify({ denials })}\n`))
