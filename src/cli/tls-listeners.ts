/** The wires of listeners that speak TLS. */
import type { Config } from '../config/load.ts'
import { formatListenAddress, type ListenAddress } from '../config/units.ts'
import { createTlsWire } from '../wire/tls/wire.ts'
import type { Wire } from '../wire/types.ts'
import { ConfiguredFileError, readConfiguredFile } from './client-files.ts'

/**
 * Reads the PEM files; throws {@link ConfiguredFileError} for one that is missing or wrong.
 *
 * @param reusePort several processes listen on these addresses
 */
export function openTlsWires(
  { listen, limits }: Config,
  reusePort = false,
): ReadonlyMap<ListenAddress, Wire> {
  const wires = new Map<ListenAddress, Wire>()
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
      wires.set(address, createTlsWire({ ...files, handshakeTimeoutMs: limits.headTimeoutMs, reusePort }))
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error)
      throw new ConfiguredFileError(
        `the TLS files of ${formatListenAddress(address)} do not work together: ${why}`,
        { cause: error },
      )
    }
  }
  return wires
}
