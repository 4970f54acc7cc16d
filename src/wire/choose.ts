/** Picks the wire: the kernel's where it runs and proves itself, else the portable one, with the reason. */
import type { KernelWire } from './kernel/wire.ts'
import { createPortableWire } from './portable/wire.ts'
import type { Wire } from './types.ts'

export interface WireChoice {
  readonly wire: Wire
  /** Why the kernel wire was wanted and is not used. */
  readonly fallback?: string
}

export interface WireWishes {
  readonly wire: 'auto' | 'kernel' | 'portable'
  /** Several processes share the listening address. */
  readonly reusePort?: boolean
  readonly onBug: (error: unknown) => void
  readonly onAcceptPaused?: (code: string) => void
}

/** Never rejects: what does not work here is a reason to fall back, not to fail. */
export async function chooseWire(wishes: WireWishes): Promise<WireChoice> {
  if (wishes.wire === 'portable') return { wire: createPortableWire(wishes) }
  const kernel = await tryKernel(wishes)
  return typeof kernel === 'string'
    ? { wire: createPortableWire(wishes), fallback: kernel }
    : { wire: kernel }
}

async function tryKernel(wishes: WireWishes): Promise<KernelWire | string> {
  let wire: KernelWire | undefined
  try {
    // Loaded only here: a machine without koffi never sees these files.
    const { isSupportedPlatform, loadLibc } = await import('./kernel/libc.ts')
    if (!isSupportedPlatform()) return `not for ${process.platform} on ${process.arch}`
    const libc = await loadLibc()
    const { createKernelWire } = await import('./kernel/wire.ts')
    const { selfTest } = await import('./kernel/self-test.ts')
    wire = createKernelWire(libc, wishes)
    const defect = await selfTest(wire)
    if (defect === undefined) return wire
    wire.dispose()
    return defect
  } catch (error) {
    wire?.dispose()
    return error instanceof Error ? firstLine(error.message) : String(error)
  }
}

function firstLine(text: string): string {
  return text.split('\n')[0] ?? ''
}
