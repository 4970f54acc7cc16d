/** The gate: listens, serves every connection through the pipeline, and shuts down without cutting tunnels short. */
import type { Connection, Endpoint, Listener } from '../wire/types.ts'
import type { ListenAddress } from '../config/units.ts'
import { serveConnection, type Admission, type Services } from './connect.ts'

export interface GateOptions {
  readonly listen: readonly ListenAddress[]
  readonly maxConnections: number
  readonly drainTimeoutMs: number
}

export interface Gate {
  /** Where it listens; empty before {@link Gate.start}. */
  readonly endpoints: readonly Endpoint[]
  readonly connections: number
  /** Connections closed without an answer: there were too many even to refuse. */
  readonly dropped: number
  readonly draining: boolean
  /**
   * Rejects with the system's error, and the address in question as its `listen`, when an address cannot be listened
   * on; then nothing listens.
   */
  start(): Promise<void>
  /** Stops accepting, gives tunnels `drainTimeoutMs`, closes what is left. Calling again closes at once. */
  stop(): Promise<void>
}

/** Refusals of one kind that may be under way at once; beyond, connections are dropped unanswered, and counted. */
const MAX_OVERFLOW = 1024
/** The same for clients outside `clients.allow`: they must not take anything from those inside. */
const MAX_STRANGERS = 256

export function createGate(
  options: GateOptions,
  makeServices: (gate: Pick<Gate, 'endpoints' | 'draining'>) => Services,
): Gate {
  /** Connections on their way to a tunnel or to a refusal; open tunnels are in the registry. */
  const pending = new Set<Connection>()
  let connections = 0
  const count: Record<Admission, number> = {
    admitted: 0,
    stranger: 0,
    too_many_connections: 0,
    too_many_tunnels: 0,
  }
  let dropped = 0
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
    get dropped() {
      return dropped
    },
    get draining() {
      return draining
    },
    async start() {
      let refusedAddress: ListenAddress | undefined
      try {
        for (const address of options.listen) {
          refusedAddress = address
          listeners.push(await services.wire.listen(address, accept))
        }
      } catch (error) {
        await Promise.all(listeners.splice(0).map((listener) => listener.close()))
        throw Object.assign(error instanceof Error ? error : new Error(String(error)), {
          listen: refusedAddress,
        })
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
    const client = connection.remote.address
    const admission = admit(client)
    if (admission === 'dropped') {
      dropped += 1
      connection.destroy()
      return
    }
    connections += 1
    count[admission] += 1
    pending.add(connection)
    const ended = (): void => {
      connections -= 1
      count[admission] -= 1
      if (admission === 'admitted') services.tunnels.release(client)
      if (connections === 0) onIdle()
    }
    void serveConnection(connection, services, admission, ended).then(() => pending.delete(connection))
  }

  /** Takes the client's place when there is one. */
  function admit(client: string): Admission | 'dropped' {
    if (!services.clientAllowed(client)) return count.stranger < MAX_STRANGERS ? 'stranger' : 'dropped'
    const overflow = count.too_many_connections + count.too_many_tunnels < MAX_OVERFLOW
    if (count.admitted >= options.maxConnections) return overflow ? 'too_many_connections' : 'dropped'
    if (!services.tunnels.reserve(client)) return overflow ? 'too_many_tunnels' : 'dropped'
    return 'admitted'
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
    // Who has said nothing yet is asking for nothing.
    for (const connection of pending) if (!connection.spoke) connection.destroy()
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
