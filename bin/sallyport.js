#!/usr/bin/env node
// Chooses the TypeScript sources in a checkout and the compiled ones in the published package, and is the only
// place that ends the process. Plain old syntax: it must be able to say its sentence on any Node.
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const [major, minor, patch] = process.versions.node.split('.').map(Number)
// The releases of 2026-07-28 fix header fields that vanish from the parsed request (CVE-2026-58044).
const supported =
  (major === 24 && (minor > 18 || (minor === 18 && patch >= 1))) ||
  (major === 26 && (minor > 5 || (minor === 5 && patch >= 1))) ||
  major > 26

if (supported) {
  // What V8 thinks likely to live long, it makes where only a collection of everything looks. Under load it thinks so of
  // parts of every tunnel, once a few have seemed to; then nothing of a tunnel that has ended goes before that.
  const { setFlagsFromString } = await import('node:v8')
  setFlagsFromString('--no-allocation-site-pretenuring')
  // Compiled code, types stripped, kept beside the dependencies: a third of the start-up time. Where that folder cannot
  // be written, nothing is kept. Never in a shared temporary folder: whoever writes there would choose what runs here.
  const { enableCompileCache, flushCompileCache } = await import('node:module')
  const dependencies = new URL('../node_modules/', import.meta.url)
  // Under the permission model, what may not be read is not there.
  const isThere = (url) => {
    try {
      return existsSync(url)
    } catch {
      return false
    }
  }
  if (isThere(dependencies)) {
    enableCompileCache(fileURLToPath(new URL('.cache/sallyport/', dependencies)))
    // Node writes it at the end, which a gate that is killed has not.
    setTimeout(() => flushCompileCache(), 1000).unref()
  }
  const source = new URL('../src/cli/main.ts', import.meta.url)
  const { main } = await import(isThere(source) ? source.href : '../dist/cli/main.js')
  process.exit(await main(process.argv.slice(2)))
} else {
  process.stderr.write(
    `sallyport: Node ${process.versions.node} is not supported; it needs ^24.18.1 || >=26.5.1. ` +
      'In a checkout, `npm ci && npm start` brings its own.\n',
  )
  process.exit(2)
}
