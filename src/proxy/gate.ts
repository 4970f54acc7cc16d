/** The gate: listens, serves every connection through the pipeline, and shuts down without cutting tunnels short. */
import type { Connection, Endpoint, Listener } from '../wire/types.ts'
import type { ListenAddress } from '../config/units.ts'
import { serveConnection, type Services } from './connect.ts'

export interface GateOptions {
  readonly listen: readonly ListenAddress[]
  readonly maxConnections: number
  readonly drainTimeoutMs: number
}

export interface Gate {
  /** Where it listens; empty before {@link Gate.start}. */
  readonly endpoints: readonly Endpoint[]
  readonly connections: number
  readonly draining: boolean
  /** Rejects with the system's error when an address cannot be listened on; then nothing listens. */
  start(): Promise<void>
  /** Stops accepting, gives tunnels `drainTimeoutMs`, closes what is left. Calling again closes at once. */
  stop(): Promise<void>
}

/** Replies to clients over the limit that may be lingering at once; beyond, they are closed without politeness. */
const MAX_OVERFLOW = 1024

export function createGate(
  options: GateOptions,
  makeServices: (gate: Pick<Gate, 'endpoints' | 'draining'>) => Services,
): Gate {
  /** Connections on their way to a tunnel or to a refusal; open tunnels are in the registry. */
  const pending = new Set<Connection>()
  let connections = 0
  /** Called when the last connection has ended. */
  let onIdle: () => void = () => undefined
  const listeners: Listener[] = []
  let draining = false
  let stopping: Promise<void> | undefined
  let hurry: () => void = () => undefined

  const gate: Gate = {
    get endpoints() {
      return listeners.map((listener) => listener.endpoint)
    },
    get connections() {
      return connections
    },
    get draining() {
      return draining
    },
    async start() {
      try {
        for (const address of options.listen) listeners.push(await services.wire.listen(address, accept))
      } catch (error) {
        await Promise.all(listeners.splice(0).map((listener) => listener.close()))
        throw error
      }
    },
    stop() {
      if (stopping) hurry()
      stopping ??= drain()
      return stopping
    },
  }
  const services = makeServices(gate)

  function accept(connection: Connection): void {
    if (connections >= options.maxConnections + MAX_OVERFLOW) {
      connection.destroy()
      return
    }
    const admitted = connections < options.maxConnections
    connections += 1
    pending.add(connection)
    const ended = (): void => {
      connections -= 1
      if (connections === 0) onIdle()
    }
    void serveConnection(connection, services, admitted, ended).then(() => pending.delete(connection))
  }

  async function drain(): Promise<void> {
    draining = true
    // Set up before anything is waited for: a second stop() may come in the same breath.
    const deadline = new Promise<void>((resolve) => {
      const cancel = services.clock.setTimer(resolve, options.drainTimeoutMs)
      hurry = () => {
        cancel()
        resolve()
      }
    })
    await Promise.all(listeners.map((listener) => listener.close()))
    await Promise.race([idle(), deadline])
    hurry()
    services.tunnels.closeAll('drain_timeout')
    for (const connection of pending) connection.destroy()
    // Every attempt still writes its record; nothing is left for it to wait on.
    await idle()
  }

  function idle(): Promise<void> {
    if (connections === 0) return Promise.resolve()
    return new Promise((resolve) => {
      onIdle = resolve
    })
  }

  return gate
}
