import { mkdirSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Printed {
  version: string
  /** The lines that tell the user what happened, with the id of that one refusal taken out. */
  refused: string[]
}

const telling = /sallyport denied|CONNECT tunnel failed|CONNECT failed|Tunnel connection failed/

export const tellingLines = (output: string): string[] =>
  output
    .split(/\r?\n/)
    .filter((line) => telling.test(line) && !line.startsWith('* '))
    .map((line) => line.replace(/\(id \w+\)/, '(id …)'))

/**
 * Keeps what real programs printed as evidence for docs/clients.md: in the folder that SALLYPORT_E2E_PRINTED names,
 * or in one below the system's temporary folder.
 */
export const keepPrinted = (suite: string, printed: Readonly<Record<string, Printed>>): void => {
  const folder = process.env['SALLYPORT_E2E_PRINTED'] ?? join(tmpdir(), 'sallyport-e2e-printed')
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, `${suite}.json`), `${JSON.stringify(printed, null, 2)}\n`)
}
