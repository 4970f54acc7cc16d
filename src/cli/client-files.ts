/** The files that `clients` and `admin` name, read and checked. */
import { readFileSync } from 'node:fs'
import type { Config } from '../config/load.ts'
import { parsePasswordFile, type PasswordEntry } from '../proxy/password-file.ts'
import { whyUnreadable } from './read-config.ts'

/** A file that the configuration names is missing or wrong. The message says which, and never what stands in it. */
export class ConfiguredFileError extends Error {}

/** The users of `clients.passwords`, or nothing where no file is configured. Throws {@link ConfiguredFileError}. */
export function readPasswords({ clients }: Config): ReadonlyMap<string, PasswordEntry> | undefined {
  if (clients.passwords === null) return undefined
  const result = parsePasswordFile(
    readConfiguredFile('clients.passwords', clients.passwords).toString('utf8'),
  )
  if (result.ok) return result.entries
  throw new ConfiguredFileError(`${clients.passwords}:${result.line}: ${result.problem}`)
}

/** What the admin listener asks for, or nothing where it asks for none. Throws {@link ConfiguredFileError}. */
export function readAdminToken({ admin }: Pick<Config, 'admin'>): string | undefined {
  if (admin.token !== null) return admin.token
  if (admin.tokenFile === null) return undefined
  const token = readConfiguredFile('admin.tokenFile', admin.tokenFile).toString('utf8').trim()
  if (/^[\x21-\x7e]{16,256}$/.test(token)) return token
  throw new ConfiguredFileError(
    `admin.tokenFile: ${admin.tokenFile}: expected one line of 16 to 256 printable ASCII characters without spaces`,
  )
}

/** @param key where in the configuration the file is named */
export function readConfiguredFile(key: string, path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (error) {
    throw new ConfiguredFileError(`${key}: ${path}: ${whyUnreadable(error)}`, { cause: error })
  }
}
