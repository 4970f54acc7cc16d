// Run under the gate's own options: tries what an intruder in the process would try, and prints how each try ended.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { Worker } from 'node:worker_threads'

const tries = {
  'read a file': () => readFileSync('/etc/passwd'),
  'write a file': () => writeFileSync(process.argv[2] ?? 'probe', 'x'),
  'start a program': () => {
    const { error } = spawnSync('/bin/true')
    if (error) throw error
  },
  'start a thread': () => new Worker('0', { eval: true }),
  'load native code': () => createRequire(import.meta.url)('koffi'),
  // oxlint-disable-next-line typescript/no-implied-eval -- whether this is possible is the question
  'make code from text': () => new Function('return 1')(),
  'reach a prototype by name': () => {
    const object = JSON.parse('{"a":1}')
    object.__proto__ = { polluted: true }
    if (object.polluted !== true) throw Object.assign(new Error('no such property'), { code: 'no __proto__' })
  },
}
const outcomes = Object.entries(tries).map(([name, attempt]) => {
  try {
    attempt()
    return [name, 'possible']
  } catch (error) {
    return [name, String(error.code ?? error.name)]
  }
})
process.stdout.write(JSON.stringify(Object.fromEntries(outcomes)))
process.exit(0)
