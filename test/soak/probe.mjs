// Loaded into the gate with --import: writes what only the process itself can see, one JSON line each time.
import { appendFileSync } from 'node:fs'

const { SALLYPORT_SOAK_FILE: file = '', SALLYPORT_SOAK_EVERY_MS: every = '2000' } = process.env

setInterval(() => {
  // So that what is counted is what is held, not what has not been collected yet.
  globalThis.gc?.()
  const resources = process.getActiveResourcesInfo()
  const timers = resources.filter((name) => name === 'Timeout').length
  const { heapUsed, external } = process.memoryUsage()
  const sample = { heapBytes: heapUsed + external, timers, handles: resources.length - timers }
  appendFileSync(file, `${JSON.stringify(sample)}\n`)
}, Number(every)).unref()
