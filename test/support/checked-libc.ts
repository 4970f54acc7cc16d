/**
 * The real libc, watched: every descriptor that a call is given must be open and its own, and calls can be made to fail.
 * A seam, not a mock: what is not made to fail goes to the system.
 */
import { constants } from 'node:os'
import type { Libc } from '../../src/wire/kernel/libc.ts'

/** Calls that reach the system; the others are koffi's. */
export type Call = Exclude<keyof Libc, 'errno' | 'errnoName' | 'watchReadable'>
export type Errno = keyof typeof constants.errno

type Arguments = readonly unknown[]

interface Fault {
  readonly call: Call
  /** Whether it concerns this call. */
  readonly when: (args: Arguments) => boolean
  /** What happens instead: an errno, or other arguments for the system. */
  readonly instead: Errno | ((args: Arguments) => Arguments)
  /** The system is asked all the same; the failure is only told. */
  readonly done?: boolean
  left: number
  hits: number
}

export interface FaultOptions {
  /** The system is asked all the same, as when a signal interrupts a call that goes on by itself. */
  readonly done?: boolean
  /** How many calls it meets; all of them when left out. */
  readonly times?: number
  readonly when?: (args: Arguments) => boolean
}

/** A fault that is in force. */
export interface Injected {
  readonly hits: number
  /** From here on the system answers again. */
  stop(): void
}

/** Which arguments are descriptors; the first, unless it stands here. */
const DESCRIPTORS: Readonly<Partial<Record<Call, readonly number[]>>> = {
  socket: [],
  pipe2: [],
  epollCreate1: [],
  splice: [0, 2],
  epollCtl: [0, 2],
}
const OPENS: ReadonlySet<string> = new Set<Call>(['socket', 'accept4', 'epollCreate1'])

/** Violations kept: the first few tell what is wrong. */
const MAX_VIOLATIONS = 4

export class CheckedLibc {
  /** To be given to the wire. */
  readonly libc: Libc
  /** Descriptors open now, and which call opened them. */
  readonly open = new Map<number, Call>()
  /** Uses of descriptors that were not open, and second closes. */
  readonly violations: string[] = []
  /** How often each call was made. */
  readonly calls = new Map<Call, number>()
  readonly #real: Libc
  readonly #faults: Fault[] = []
  #errno: number | undefined

  constructor(real: Libc) {
    this.#real = real
    const wrapped: Record<string, unknown> = {}
    for (const [name, value] of Object.entries(real)) wrapped[name] = this.#wrap(name, value)
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- the same members, each wrapped
    this.libc = wrapped as unknown as Libc
  }

  /** Makes calls fail with an errno, without reaching the system. */
  fail(call: Call, errno: Errno, options: FaultOptions = {}): Injected {
    return this.#inject(call, errno, options)
  }

  /** Gives the system other arguments: to have it do less, mostly. */
  bend(call: Call, instead: (args: Arguments) => Arguments, options: FaultOptions = {}): Injected {
    return this.#inject(call, instead, options)
  }

  #inject(call: Call, instead: Fault['instead'], options: FaultOptions): Injected {
    const fault: Fault = {
      call,
      instead,
      when: options.when ?? (() => true),
      done: options.done ?? false,
      left: options.times ?? Number.POSITIVE_INFINITY,
      hits: 0,
    }
    this.#faults.push(fault)
    return {
      get hits() {
        return fault.hits
      },
      stop() {
        fault.left = 0
      },
    }
  }

  #wrap(name: string, value: unknown): unknown {
    if (name === 'errno') return () => this.#errno ?? this.#real.errno()
    if (name === 'errnoName' || name === 'watchReadable' || typeof value !== 'function') return value
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- a member of Libc
    const call = name as Call
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- every call of Libc is such a function
    const real = value as (...args: Arguments) => number
    const descriptors = DESCRIPTORS[call] ?? [0]
    return (...given: Arguments): number => {
      this.calls.set(call, (this.calls.get(call) ?? 0) + 1)
      for (const index of descriptors) this.#check(call, given[index])
      this.#errno = undefined
      let args = given
      if (this.#faults.length > 0) {
        const fault = this.#faults.find((each) => each.left > 0 && each.call === call && each.when(given))
        if (fault) {
          fault.left -= 1
          fault.hits += 1
          if (typeof fault.instead === 'string') {
            if (fault.done) real(...given)
            this.#errno = constants.errno[fault.instead]
            return -1
          }
          args = fault.instead(given)
        }
      }
      const result = real(...args)
      if (result >= 0) this.#note(call, args, result)
      return result
    }
  }

  #check(call: Call, fd: unknown): void {
    if (typeof fd === 'number' && this.open.has(fd)) return
    if (this.violations.length === MAX_VIOLATIONS) return
    this.violations.push(`${call}(${String(fd)}): no descriptor of ours${where()}`)
  }

  #note(call: Call, args: Arguments, result: number): void {
    if (OPENS.has(call)) this.open.set(result, call)
    else if (call === 'pipe2' && args[0] instanceof Int32Array) {
      for (const fd of args[0]) this.open.set(fd, call)
    } else if (call === 'close') this.open.delete(Number(args[0]))
  }
}

/** Who asked, without this file. */
function where(): string {
  const frames = (new Error().stack ?? '').split('\n').filter((line) => line.includes('/src/'))
  return frames
    .slice(0, 3)
    .map((line) => `\n ${line.trim()}`)
    .join('')
}
