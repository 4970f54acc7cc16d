/** Runs the load generator (load.c): the origin, the loads, and crowds of idle tunnels. */
import type { ChildProcess } from 'node:child_process'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { ON_PEERS_CORE } from './pin.ts'
import { hasEnded, start, stop } from './processes.ts'

/** Everything that a load needs to know besides the proxy. */
export interface LoadGear {
  /** The compiled generator. */
  readonly program: string
  /** The file with the ClientHello. */
  readonly hello: string
  /** The process of the origin. */
  readonly origin: number
}

/** Where a load goes: a proxy that listens on `port`. */
export interface Door {
  readonly port: number
  /** What CONNECT names; `undefined`: the proxy takes no CONNECT. */
  readonly target: string | undefined
}

export interface Load {
  readonly mode: 'setup' | 'bulk' | 'ping'
  readonly tunnels: number
  readonly seconds: number
  /** What each request asks for. */
  readonly bytes: number
}

export interface LoadResult {
  readonly done: number
  readonly failed: number
  readonly seconds: number
  readonly p50us: number
  readonly p99us: number
}

export interface Crowd {
  /** Closes the tunnels; how many of them were lost before. */
  disperse(): Promise<number>
}

/** Its process id. */
export async function startOrigin(program: string, port: number): Promise<number> {
  const child = start([program, 'origin', String(port)], ['pipe', 'ignore', 'inherit'])
  await delay(200)
  if (child.pid === undefined || hasEnded(child)) throw new Error('the origin does not start')
  return child.pid
}

export async function runLoad(gear: LoadGear, door: Door, load: Load): Promise<LoadResult> {
  const words = [load.mode, door.port, door.target ?? '-', gear.hello, load.tunnels, load.seconds, load.bytes]
  const child = startLoad(gear, words, load.mode === 'ping' ? ON_PEERS_CORE : [])
  const line = await lines(child).next()
  await stop(child)
  if (typeof line !== 'string') throw new Error(`the ${load.mode} load ended without a result`)
  const result = numbers(line)
  const value = (name: string): number => result.get(name) ?? Number.NaN
  return {
    done: value('done'),
    failed: value('failed'),
    seconds: value('seconds'),
    p50us: value('p50us'),
    p99us: value('p99us'),
  }
}

/** Opens `tunnels` and leaves them open. */
export async function gatherCrowd(gear: LoadGear, door: Door, tunnels: number): Promise<Crowd> {
  const child = startLoad(gear, ['idle', door.port, door.target ?? '-', gear.hello, tunnels, 0, 0])
  const answers = lines(child)
  const timer = setTimeout(() => void stop(child), CROWD_TIMEOUT_MS)
  const opened = await answers.next()
  clearTimeout(timer)
  if (opened === undefined) throw new Error(`${tunnels} tunnels could not be opened`)
  return {
    async disperse() {
      child.stdin?.end()
      const line = await answers.next()
      await stop(child)
      return tunnels - (numbers(line ?? '{}').get('open') ?? 0)
    },
  }
}

const CROWD_TIMEOUT_MS = 60_000

function startLoad(
  gear: LoadGear,
  words: readonly (string | number)[],
  before: readonly string[] = [],
): ChildProcess {
  return start([...before, gear.program, ...words.map(String)], ['pipe', 'pipe', 'inherit'])
}

/** A line of the generator: an object with a number under each name. */
function numbers(line: string): ReadonlyMap<string, number> {
  const parsed: unknown = JSON.parse(line)
  return new Map(Object.entries(parsed ?? {}).map(([name, value]) => [name, Number(value)]))
}

/** The lines that a process prints; `undefined` at the end. */
function lines(child: ChildProcess): { next(): Promise<string | undefined> } {
  if (!child.stdout) throw new Error('started without a standard output')
  const iterator = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  return {
    async next() {
      const { value, done } = await iterator.next()
      return done === true ? undefined : value
    },
  }
}
