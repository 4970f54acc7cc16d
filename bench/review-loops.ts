/** The barest ways to read a log in Node: each line through JSON.parse, and nothing but the denials counted. */
import { closeSync, createReadStream, openSync, readSync } from 'node:fs'
import { createInterface } from 'node:readline'

interface Line {
  readonly event: { readonly action: string }
}

const [, , kind, file = ''] = process.argv
let denials = 0
const count = (text: string): void => {
  const line: Line = JSON.parse(text)
  if (line.event.action === 'tunnel-denied') denials += 1
}

if (kind === 'readline') {
  for await (const text of createInterface({ input: createReadStream(file, { highWaterMark: 1 << 20 }) }))
    count(text)
} else {
  const fd = openSync(file, 'r')
  const chunk = Buffer.allocUnsafe(1 << 20)
  let rest = ''
  for (
    let size = readSync(fd, chunk, 0, chunk.length, null);
    size > 0;
    size = readSync(fd, chunk, 0, chunk.length, null)
  ) {
    const lines = (rest + chunk.toString('utf8', 0, size)).split('\n')
    rest = lines.pop() ?? ''
    for (const text of lines) count(text)
  }
  closeSync(fd)
}
process.stdout.write(`${denials}\n`)
