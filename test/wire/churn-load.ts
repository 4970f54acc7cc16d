/**
 * The clients and the host of churn.test.ts, in a process of their own: opens tunnels, ends each in its own way, and checks
 * every byte that arrives. Its parent sends `ChurnOrder` and gets `ChurnReport`.
 */
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { createHash } from 'node:crypto'
import { between, pick, seededRandom, type Random } from '../support/random.ts'

export interface ChurnOrder {
  readonly seed: number
  readonly tunnels: number
  readonly concurrency: number
  /** A listener whose tunnels are left to end by themselves, and one whose tunnels are interfered with. */
  readonly quietPort: number
  readonly roughPort: number
}

export interface ChurnReport {
  /** How many tunnels each way of ending had. */
  readonly endings: Readonly<Record<string, number>>
  /** Tunnels that had to arrive whole both ways, and did. */
  readonly whole: number
  readonly bytes: number
  /** What went wrong, at most a few. */
  readonly faults: readonly string[]
}

type Ending =
  /** Both send and finish, each when it likes. */
  | 'both finish'
  /** One finishes; the other answers only then. */
  | 'client finishes first'
  | 'host finishes first'
  | 'client resets'
  | 'host resets'
  | 'both reset'
  | 'client closes'
  | 'host closes'
  | 'client resets while connecting'
  | 'client finishes, then closes'
  | 'host finishes, then closes'
  /** Megabytes wait for a reader that does not read, when one side resets. */
  | 'slow client, client resets'
  | 'slow client, host resets'
  | 'slow host, client resets'
  | 'slow host, host resets'
  /** The gate interferes. */
  | 'rough'

const ENDINGS: readonly (readonly [number, Ending])[] = [
  [20, 'both finish'],
  [12, 'client finishes first'],
  [12, 'host finishes first'],
  [9, 'client resets'],
  [9, 'host resets'],
  [6, 'both reset'],
  [5, 'client closes'],
  [5, 'host closes'],
  [4, 'client resets while connecting'],
  [4, 'client finishes, then closes'],
  [4, 'host finishes, then closes'],
  [0.3, 'slow client, client resets'],
  [0.3, 'slow client, host resets'],
  [0.3, 'slow host, client resets'],
  [0.3, 'slow host, host resets'],
  [9, 'rough'],
]
const WHOLE: ReadonlySet<Ending> = new Set(['both finish', 'client finishes first', 'host finishes first'])
const MEGABYTE = 1024 * 1024
const ID_BYTES = 4
/** What the gate answers to some of the clients that it does not serve. */
export const REFUSAL = 'refused, politely'
const FAULTS_KEPT = 10
/** Nothing happened anywhere for this long: what is open then hangs. */
const STALL_MS = 8000

interface Plan {
  readonly id: number
  readonly ending: Ending
  readonly up: Buffer
  readonly down: Buffer
  readonly delayMs: number
  readonly secondDelayMs: number
}

/** What one end of a tunnel got, and how that ended. */
interface End {
  readonly socket: Socket
  readonly expected: Buffer
  received: number
  finished: boolean
  closed: boolean
}

process.on('message', (order: ChurnOrder) => {
  void run(order).then((report) => process.send?.(report))
})
const server = createServer({ allowHalfOpen: true, noDelay: true })
server.listen({ host: '0.0.0.0', port: 0, backlog: 4096 }, () => {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a TCP server has an AddressInfo
  process.send?.((server.address() as AddressInfo).port)
})
process.on('disconnect', () => process.exit())

async function run(order: ChurnOrder): Promise<ChurnReport> {
  const random = seededRandom(order.seed)
  const stock = Buffer.alloc(8 * MEGABYTE)
  for (let i = 0; i < stock.length; i += 4) stock.writeUInt32LE(Math.floor(random() * 2 ** 32), i)
  const plans = new Map<number, { plan: Plan; client: End; host?: End }>()
  const endings: Record<string, number> = {}
  const faults: string[] = []
  let whole = 0
  let bytes = 0
  let started = 0
  let openEnds = 0
  let allDone: () => void = () => undefined
  const done = new Promise<void>((resolve) => {
    allDone = resolve
  })

  function fault(plan: Plan, what: string): void {
    if (faults.length < FAULTS_KEPT) faults.push(`tunnel ${plan.id} (${plan.ending}): ${what}`)
  }

  function watch(plan: Plan, side: string, socket: Socket, expected: Buffer, onClose: () => void): End {
    const end: End = { socket, expected, received: 0, finished: false, closed: false }
    openEnds += 1
    const hash = createHash('sha256')
    socket.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      hash.update(chunk)
      const from = end.received
      end.received += chunk.length
      if (plan.ending === 'rough' && from === 0 && chunk.toString('latin1') === REFUSAL) return
      if (end.received > expected.length)
        fault(plan, `${side} got ${end.received - expected.length} too many`)
      else if (expected.compare(chunk, 0, chunk.length, from, end.received) !== 0)
        fault(plan, `${side} got other bytes than were sent, after ${from}`)
    })
    socket.on('end', () => {
      end.finished = true
      if (WHOLE.has(plan.ending) && hash.digest('hex') !== sha256(expected))
        fault(plan, `${side} got ${end.received} of ${expected.length} bytes, and a clean end`)
    })
    socket.on('error', (error: NodeJS.ErrnoException) => {
      if (WHOLE.has(plan.ending)) fault(plan, `${side} broke: ${error.code}, after ${end.received} bytes`)
    })
    socket.on('close', () => {
      end.closed = true
      openEnds -= 1
      onClose()
      if (openEnds === 0 && started === order.tunnels) allDone()
    })
    return end
  }

  server.on('connection', (socket) => {
    // A reset before the number came, mostly.
    const early = (): void => {
      socket.destroy()
    }
    socket.once('error', early)
    socket.once('end', early)
    let head = Buffer.alloc(0)
    const identify = (chunk: Buffer): void => {
      head = Buffer.concat([head, chunk])
      if (head.length < ID_BYTES) return
      socket.off('data', identify)
      socket.off('error', early)
      socket.off('end', early)
      const tunnel = plans.get(head.readUInt32LE(0))
      if (!tunnel || tunnel.host) {
        faults.push(
          `a tunnel with the number ${head.readUInt32LE(0)} that ${tunnel ? 'is there already' : 'was not asked for'}`,
        )
        socket.destroy()
        return
      }
      const { plan } = tunnel
      tunnel.host = watch(plan, 'the host', socket, plan.up, () => over(plan.id))
      playHost(plan, tunnel.host, tunnel.client)
      const rest = head.subarray(ID_BYTES)
      if (rest.length > 0) socket.emit('data', rest)
    }
    socket.on('data', identify)
  })

  /** When both ends are closed. A host that was never reached has none. */
  function over(id: number): void {
    const tunnel = plans.get(id)
    if (!tunnel?.client.closed || tunnel.host?.closed === false) return
    const { plan, client, host } = tunnel
    if (WHOLE.has(plan.ending)) {
      if (host && client.finished && host.finished) whole += 1
      else fault(plan, 'closed before both sides had finished')
    }
    // Kept until now: the host may hear of a tunnel after its client is gone.
    setTimeout(() => plans.delete(id), 10_000).unref()
  }

  function start(): void {
    const id = started
    started += 1
    const plan = makePlan(id, random, stock)
    endings[plan.ending] = (endings[plan.ending] ?? 0) + 1
    const socket = connect({
      host: '127.0.0.1',
      // Several addresses, so that ports do not run out.
      localAddress: `127.0.0.${2 + (id % 16)}`,
      port: plan.ending === 'rough' ? order.roughPort : order.quietPort,
      allowHalfOpen: true,
      noDelay: true,
    })
    const client = watch(plan, 'the client', socket, plan.down, () => {
      over(id)
      if (started < order.tunnels) start()
    })
    plans.set(id, { plan, client })
    playClient(plan, client)
  }

  for (let i = 0; i < Math.min(order.concurrency, order.tunnels); i += 1) start()
  // What hangs is told, not waited for.
  let seen = -1
  const watchdog = setInterval(() => {
    if (seen !== bytes + started + openEnds) {
      seen = bytes + started + openEnds
      return
    }
    for (const { plan, client, host } of plans.values()) {
      if (client.closed && host?.closed !== false) continue
      fault(plan, `hangs; the client ${describe(client)}, the host ${describe(host)}`)
    }
    allDone()
  }, STALL_MS)
  await done
  clearInterval(watchdog)
  return { endings, whole, bytes, faults }
}

function describe(end: End | undefined): string {
  if (!end) return 'was never reached'
  if (end.closed) return 'is closed'
  const { received, expected, finished, socket } = end
  return `has ${received} of ${expected.length} bytes${finished ? ' and their end' : ''}, and ${socket.writableFinished ? 'has finished' : `${socket.writableLength} bytes to send`}`
}

function makePlan(id: number, random: Random, stock: Buffer): Plan {
  const ending = pick(random, ENDINGS)
  const slow = ending.startsWith('slow')
  const take = (): Buffer => {
    const size = slow ? between(random, 4 * MEGABYTE, 8 * MEGABYTE) : pickSize(random)
    const from = between(random, 0, stock.length - size)
    return stock.subarray(from, from + size)
  }
  return {
    id,
    ending,
    up: take(),
    down: take(),
    delayMs: between(random, 0, slow ? 60 : 12),
    secondDelayMs: between(random, 0, 4),
  }
}

function pickSize(random: Random): number {
  const [low, high] = pick<readonly [number, number]>(random, [
    [8, [0, 0]],
    [60, [1, 4 * 1024]],
    [26, [8 * 1024, 96 * 1024]],
    [6, [100 * 1024, 600 * 1024]],
  ])
  return between(random, low, high)
}

function playClient(plan: Plan, client: End): void {
  const { socket } = client
  const number = Buffer.alloc(ID_BYTES)
  number.writeUInt32LE(plan.id)
  if (plan.ending === 'client resets while connecting') {
    if (plan.id % 2 === 0) socket.write(number)
    socket.once('connect', () => socket.resetAndDestroy())
    return
  }
  socket.write(number)
  switch (plan.ending) {
    case 'both finish':
    case 'client finishes first':
      setTimeout(() => socket.end(plan.up), plan.secondDelayMs)
      return
    case 'host finishes first':
      socket.once('end', () => socket.end(plan.up))
      return
    default:
      socket.write(plan.up)
      endWhenTold(plan, 'client', client)
  }
}

function playHost(plan: Plan, host: End, client: End): void {
  const { socket } = host
  switch (plan.ending) {
    case 'both finish':
    case 'host finishes first':
      setTimeout(() => socket.end(plan.down), plan.secondDelayMs)
      return
    case 'client finishes first':
      socket.once('end', () => socket.end(plan.down))
      return
    default:
      socket.write(plan.down)
      endWhenTold(plan, 'host', host)
      if (plan.ending === 'both reset')
        setTimeout(() => {
          socket.resetAndDestroy()
          client.socket.resetAndDestroy()
        }, plan.delayMs)
  }
}

/** The endings that one side makes, some milliseconds into the tunnel; the other side sees it and closes. */
function endWhenTold(plan: Plan, side: 'client' | 'host', { socket }: End): void {
  const { ending, delayMs, secondDelayMs } = plan
  const slow = ending.startsWith(`slow ${side}`)
  if (slow) socket.pause()
  const after = (ms: number, what: () => void): void => {
    setTimeout(what, ms)
  }
  if (ending === `${side} resets` || (ending.startsWith('slow') && ending.endsWith(`${side} resets`)))
    after(delayMs, () => socket.resetAndDestroy())
  else if (ending === `${side} closes`) after(delayMs, () => socket.destroy())
  else if (ending === `${side} finishes, then closes`) {
    after(delayMs, () => socket.end())
    after(delayMs + secondDelayMs, () => socket.destroy())
  } else if (ending !== 'both reset') {
    socket.once('end', () => socket.end())
    // Reads again, since a socket that is not read does not see its end.
    if (slow) after(delayMs + 30, () => socket.resume())
    // The gate may leave a rough tunnel to its ends.
    if (ending === 'rough' && side === 'client') after(delayMs + 20, () => socket.end())
  }
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex')
}
