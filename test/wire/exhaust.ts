/**
 * A kernel wire in a process with few descriptors. The first two connections it joins, the others it holds until it is
 * told to serve them; each step it tells its parent.
 */
import { loadLibc } from '../../src/wire/kernel/libc.ts'
import { createKernelWire } from '../../src/wire/kernel/wire.ts'
import type { Connection } from '../../src/wire/types.ts'

export type ExhaustStep =
  | { readonly step: 'listening'; readonly port: number }
  | { readonly step: 'joined' }
  | { readonly step: 'paused'; readonly code: string }
  | { readonly step: 'served'; readonly left: number; readonly bugs: readonly string[] }

const clients = Number(process.argv[2])
const held: Connection[] = []
const bugs: string[] = []
let joined = false
let paused = false
let serving = false
let served = 0

function tell(step: ExhaustStep): void {
  process.send?.(step)
}

const wire = createKernelWire(await loadLibc(), {
  onBug: (error) => bugs.push(String(error)),
  onAcceptPaused(code) {
    if (!paused) tell({ step: 'paused', code })
    paused = true
  },
})

function take(connection: Connection): void {
  held.push(connection)
  if (serving) serve()
  if (joined || held.length < 2) return
  joined = true
  const [near, far] = held.splice(0, 2)
  const limits = { idleTimeoutMs: 60_000, lingerTimeoutMs: 60_000 }
  if (near && far) wire.relay(near, far, limits, { ended: () => undefined })
  tell({ step: 'joined' })
}

function serve(): void {
  serving = true
  for (const connection of held.splice(0)) {
    served += 1
    connection.destroy()
  }
  // What is left: the listener, and the two ends of the tunnel.
  if (served === clients) tell({ step: 'served', left: wire.usage.sockets, bugs })
}

process.on('message', serve)
process.on('disconnect', () => wire.dispose())
const listener = await wire.listen({ host: '127.0.0.1', port: 0 }, take)
tell({ step: 'listening', port: listener.endpoint.port })
