/** The files that a configuration names, beside those that it writes. */
import type { Config } from '../config/load.ts'
import { readCandidate } from './candidate.ts'
import { ConfiguredFileError, readAdminToken, readPasswords } from './client-files.ts'
import { readSyslogFiles } from './remote-outlets.ts'
import { readTlsFiles } from './tls-listeners.ts'

/** What is wrong with the files that the configuration names; nothing where all can be read. */
export function findFileProblem(config: Config): string | undefined {
  try {
    readPasswords(config)
    readAdminToken(config)
    readTlsFiles(config)
    readCandidate(config)
    if (config.audit.syslog) readSyslogFiles(config.audit.syslog)
    return undefined
  } catch (error) {
    if (error instanceof ConfiguredFileError) return error.message
    throw error
  }
}

/** Their paths. */
export function configuredFiles({ listen, clients, candidate, admin, audit }: Config): readonly string[] {
  const tls = listen.flatMap((address) => Object.values(address.tls ?? {}))
  const { ca, cert, key } = audit.syslog ?? {}
  const named = [clients.passwords, candidate, admin.tokenFile, ...tls, ca, cert, key]
  return named.filter((path) => typeof path === 'string')
}
