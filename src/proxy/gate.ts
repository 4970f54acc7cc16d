/** The gate: listens, serves every connection through the pipeline, and shuts down without cutting tunnels short. */
import type { Connection, Endpoint, Listener, Wire } from '../wire/types.ts'
import type { ListenAddress } from '../config/units.ts'
import { Bag, type Placed } from './bag.ts'
import { inBlocks, type AddressBlock } from '../policy/addresses.ts'
import type { Refusal } from '../policy/refusal.ts'
import { readProxyHeader } from './read-proxy-header.ts'
import { serveConnection, type Admission, type Front, type Services } from './connect.ts'

export interface GateOptions extends GateLimits {
  readonly listen: readonly ListenAddress[]
  /** The wires of listeners that have one of their own, such as those that speak TLS. */
  readonly wires?: ReadonlyMap<ListenAddress, Wire>
}

export interface GateLimits {
  readonly maxConnections: number
  /** How long the gate goes on as ever once it has been told to stop, for others to notice and stay away. */
  readonly drainDelayMs: number
  readonly drainTimeoutMs: number
}

export interface Gate {
  /** Where it listens; empty before {@link Gate.start}. */
  readonly endpoints: readonly Endpoint[]
  readonly connections: number
  /** Connections closed without an answer: there were too many even to refuse. */
  readonly dropped: number
  readonly draining: boolean
  /** It has been told to stop; it may still take connections, for `drainDelayMs`. */
  readonly stopping: boolean
  /**
   * Rejects with the system's error, and the address in question as its `listen`, when an address cannot be listened
   * on; then nothing listens.
   */
  start(): Promise<void>
  /** From the next connection on; those under way end by what they began with. Listeners stay as they are. */
  reconfigure(limits: GateLimits, services: Services): void
  /** Waits `drainDelayMs`, stops accepting, gives tunnels `drainTimeoutMs`, closes what is left. Calling again closes at once. */
  stop(): Promise<void>
}

interface Pending extends Placed {
  readonly connection: Connection
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
  const pending = new Bag<Pending>()
  let connections = 0
  const count: Record<Admission, number> = {
    admitted: 0,
    stranger: 0,
    too_many_connections: 0,
    too_many_tunnels: 0,
  }
  let dropped = 0
  /** Connections from load balancers that have not said yet whose they are. */
  let announcing = 0
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
    get stopping() {
      return stopping !== undefined
    },
    async start() {
      let refusedAddress: ListenAddress | undefined
      try {
        for (const address of options.listen) {
          refusedAddress = address
          const wire = options.wires?.get(address)
          const own = wire ? () => withWire(wire) : () => services
          const from = address.proxyProtocol?.from
          const take = from
            ? (connection: Connection) => acceptBehind(connection, own, from)
            : (connection: Connection) =>
                accept(connection, own, connection.remote, address.transparent ? 'transparent' : 'connect')
          listeners.push(await (wire ?? services.wire).listen(address, take))
        }
      } catch (error) {
        await Promise.all(listeners.splice(0).map((listener) => listener.close()))
        throw Object.assign(error instanceof Error ? error : new Error(String(error)), {
          listen: refusedAddress,
        })
      }
    },
    reconfigure(next, nextServices) {
      limits = next
      services = nextServices
      ofWire.clear()
    },
    stop() {
      if (stopping) hurry()
      stopping ??= drain()
      return stopping
    },
  }
  let limits: GateLimits = options
  let services = makeServices(gate)
  /** The services of listeners with a wire of their own. */
  const ofWire = new Map<Wire, Services>()

  function withWire(wire: Wire): Services {
    const known = ofWire.get(wire)
    if (known) return known
    const own = { ...services, wire }
    ofWire.set(wire, own)
    return own
  }

  /** Who comes through a balancer is admitted as the client that the balancer names. */
  function acceptBehind(connection: Connection, own: () => Services, from: readonly AddressBlock[]): void {
    if (!inBlocks(connection.remote.address, from)) {
      accept(connection, own)
      return
    }
    if (announcing >= limits.maxConnections) {
      dropped += 1
      connection.destroy()
      return
    }
    announcing += 1
    connections += 1
    const waiting = wait(connection)
    const handOver = (source: Endpoint | Refusal | 'silent'): void => {
      announcing -= 1
      connections -= 1
      pending.remove(waiting)
      if (source === 'silent') connection.destroy()
      else if ('kind' in source) refuse(connection, own, source)
      else accept(connection, own, source)
      if (connections === 0) onIdle()
    }
    const { limits: times, clock, onBug } = own()
    readProxyHeader(connection, times.headTimeoutMs, clock).then(handOver, (error: unknown) => {
      onBug(error)
      handOver('silent')
    })
  }

  function refuse(connection: Connection, own: () => Services, why: Refusal): void {
    connections += 1
    serve(connection, own, why, () => {
      connections -= 1
      if (connections === 0) onIdle()
    })
  }

  function accept(
    connection: Connection,
    own: () => Services,
    source = connection.remote,
    front: Front = 'connect',
  ): void {
    const client = source.address
    const admission = admit(client)
    if (admission === 'dropped') {
      dropped += 1
      connection.destroy()
      return
    }
    connections += 1
    count[admission] += 1
    serve(connection, own, admission, endOf(admission, client), source, front)
  }

  /** What is to be done when it is over. Made apart from the connection, so that an open tunnel does not hold on to it. */
  function endOf(admission: Admission, client: string): () => void {
    return () => {
      connections -= 1
      count[admission] -= 1
      if (admission === 'admitted') services.tunnels.release(client)
      if (connections === 0) onIdle()
    }
  }

  function serve(
    connection: Connection,
    own: () => Services,
    admission: Admission | Refusal,
    ended: () => void,
    source?: Endpoint,
    front?: Front,
  ): void {
    const waiting = wait(connection)
    void serveConnection(connection, own, admission, ended, source, front).then(() => pending.remove(waiting))
  }

  function wait(connection: Connection): Pending {
    const waiting = { connection, place: 0 }
    pending.add(waiting)
    return waiting
  }

  /** Takes the client's place when there is one. */
  function admit(client: string): Admission | 'dropped' {
    if (!services.clientAllowed(client)) return count.stranger < MAX_STRANGERS ? 'stranger' : 'dropped'
    const overflow = count.too_many_connections + count.too_many_tunnels < MAX_OVERFLOW
    if (count.admitted >= limits.maxConnections) return overflow ? 'too_many_connections' : 'dropped'
    if (!services.tunnels.reserve(client)) return overflow ? 'too_many_tunnels' : 'dropped'
    return 'admitted'
  }

  /** Settles after `ms` with true, or with false when somebody cannot wait. */
  function patience(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = services.clock.setTimer(() => resolve(true), ms)
      hurry = () => {
        cancel()
        resolve(false)
      }
    })
  }

  async function drain(): Promise<void> {
    const patient = limits.drainDelayMs === 0 || (await patience(limits.drainDelayMs))
    // A socket that was passed to us goes to whoever comes next, with all that waits at it. What was accepted here cannot
    // be handed on, and its client knows of no restart: it is served.
    const handsOver = options.listen.some(({ fd }) => fd !== undefined)
    draining = !handsOver
    // Set up before anything is waited for: a second stop() may come in the same breath.
    const deadline = patience(patient ? limits.drainTimeoutMs : 0)
    await Promise.all(listeners.map((listener) => listener.close()))
    // Who has said nothing yet is asking for nothing.
    for (const { connection } of handsOver ? [] : pending) if (!connection.spoke) connection.destroy()
    await Promise.race([idle(), deadline])
    hurry()
    services.tunnels.closeAll('drain_timeout')
    for (const { connection } of pending) connection.destroy()
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
