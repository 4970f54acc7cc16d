/** The wires of listeners that speak TLS, and their files. */
import type { Config } from '../config/load.ts'
import { formatListenAddress, type ListenAddress } from '../config/units.ts'
import { checkTlsFiles, createTlsWire, type TlsFiles, type TlsWire } from '../wire/tls/wire.ts'
import { ConfiguredFileError, readConfiguredFile } from './client-files.ts'

/**
 * Throws {@link ConfiguredFileError} for a file that is missing or wrong.
 *
 * @param reusePort several processes listen on these addresses
 */
export function openTlsWires(config: Config, reusePort = false): ReadonlyMap<ListenAddress, TlsWire> {
  const handshakeTimeoutMs = config.limits.headTimeoutMs
  return new Map(
    [...readTlsFiles(config)].map(([address, files]) => [
      address,
      createTlsWire({ ...files, handshakeTimeoutMs, reusePort }),
    ]),
  )
}

/** The PEM files of each listener that has some. Throws {@link ConfiguredFileError} for one that is missing or wrong. */
export function readTlsFiles({ listen }: Pick<Config, 'listen'>): ReadonlyMap<ListenAddress, TlsFiles> {
  const all = new Map<ListenAddress, TlsFiles>()
  for (const [index, address] of listen.entries()) {
    const { tls } = address
    if (!tls) continue
    const read = (key: 'cert' | 'key' | 'clientCa', path: string): Buffer =>
      readConfiguredFile(`listen[${index}].tls.${key}`, path)
    const files = {
      cert: read('cert', tls.cert),
      key: read('key', tls.key),
      ...(tls.clientCa !== undefined && { clientCa: read('clientCa', tls.clientCa) }),
    }
    try {
      checkTlsFiles(files)
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new ConfiguredFileError(
        `the TLS files of ${formatListenAddress(address)} do not work together: ${why}`,
        { cause: error },
      )
    }
    all.set(address, files)
  }
  return all
}
