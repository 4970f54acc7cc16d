/** Keeps the addresses of open tunnels in the packet filter. */
import type { Clock } from '../clock.ts'
import type { TunnelRegistry } from '../proxy/tunnels.ts'
import type { AdmitElements } from './admission.ts'

/** What a reload closes has ended by then, and what stays in the filter for a dial is still there. */
const RENEW_SOON_MS = 1000

/**
 * An address stays in the packet filter while a tunnel leads there, whatever DNS says by then. Call the answer where the
 * filter has been made anew.
 */
export function renewInUse(
  tunnels: Pick<TunnelRegistry, 'destinations'>,
  admit: AdmitElements,
  graceMs: number,
  clock: Clock,
): () => void {
  const renew = async (): Promise<void> => {
    const inUse = Array.from(tunnels.destinations(), ({ address, port }) => ({
      address,
      port,
      timeoutMs: graceMs,
    }))
    if (inUse.length > 0) await admit(inUse)
  }
  const again = (): void => void clock.setTimer(() => void renew().then(again), graceMs / 2)
  again()
  return () => void clock.setTimer(() => void renew(), RENEW_SOON_MS)
}
