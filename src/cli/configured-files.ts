/** Tries the files that a configuration names. */
import type { Config } from '../config/load.ts'
import { ConfiguredFileError, readPasswords } from './client-files.ts'
import { openTlsWires } from './tls-listeners.ts'

/** What is wrong with the files that the configuration names; nothing where all can be read. */
export function findFileProblem(config: Config): string | undefined {
  try {
    readPasswords(config)
    openTlsWires(config)
    return undefined
  } catch (error) {
    if (error instanceof ConfiguredFileError) return error.message
    throw error
  }
}
