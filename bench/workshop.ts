/** The temporary folder, with what is compiled, captured and configured there. */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onEnd } from './clean-up.ts'

/** What CONNECT names; nothing outside of the proxies' own configuration knows it. */
export const ORIGIN_HOST = 'origin.bench.example'

export function createWorkshop(): string {
  const folder = mkdtempSync(join(tmpdir(), 'sallyport-bench-'))
  onEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 }))
  // A proxy that gives up root must find its files.
  chmodSync(folder, 0o711)
  return folder
}

/** Compiles a C source of this folder; the path of the program. Throws without a compiler. */
export function compile(name: string, folder: string): string {
  const program = join(folder, name)
  const source = join(import.meta.dirname, `${name}.c`)
  execFileSync(process.env['CC'] ?? 'cc', ['-O2', '-o', program, source], { stdio: ['ignore', 2, 2] })
  return program
}

export function writeIn(folder: string, name: string, text: string | Buffer): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const FIRST_PORT = 20_000
const PORTS = 10_000

/** A free port of 127.0.0.1 below those that the system gives to outgoing connections. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 100; tries += 1) {
    const port = FIRST_PORT + Math.floor(Math.random() * PORTS)
    if (await isFree(port)) return port
  }
  throw new Error(`no free port from ${FIRST_PORT} up`)
}

function isFree(port: number): Promise<boolean> {
  const server = createServer()
  return new Promise((resolve) => {
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
