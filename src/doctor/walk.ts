/** What the steps of one host share: what is known so far, time, and the sockets to close in the end. */
import type { Duplex } from 'node:stream'
import type { AddressBlock } from '../policy/addresses.ts'
import type { Guard } from '../proxy/guard.ts'
import type { Finding } from './findings.ts'
import type { TlsTrust } from './handshake.ts'
import type { LookUp } from './lookup.ts'
import type { Step, StepName } from './report.ts'
import type { Bound, Connect } from './sockets.ts'

export interface Target {
  readonly host: string
  readonly port: number
  /** The rule's reason; for a preset the page's notes. */
  readonly purpose?: string
  /** From a preset: a host on the internet, whose certificate comes from a public CA. */
  readonly documented: boolean
}

/** What each step may take, milliseconds. */
export interface StepLimits {
  readonly connectMs: number
  readonly tlsMs: number
  readonly httpMs: number
  /** The reply to CONNECT: the proxy has DNS and a dial of its own to do. */
  readonly proxyReplyMs: number
}

export const STEP_LIMITS: StepLimits = { connectMs: 5000, tlsMs: 5000, httpMs: 5000, proxyReplyMs: 15_000 }

export interface Kit {
  readonly lookUp: LookUp
  readonly guard: Guard
  /** `addresses.allow`. */
  readonly addressesAllowed: readonly AddressBlock[]
  readonly connect: Connect
  readonly trust: TlsTrust
  readonly limits: StepLimits
  readonly userAgent: string
  readonly monotonicMs: () => number
  readonly wallMs: () => number
}

/** What is known of a host so far; grows as its steps are done. */
export interface Course {
  readonly target: Target
  readonly steps: Step[]
  /** The step under way. */
  current?: StepName
  finding?: Finding
  finished: boolean
}

/** The run was ended while a step was under way; what the step then says is about us, not about the host. */
export class Interrupted extends Error {}

/** The course of one host with what its steps need: time, and the sockets to close in the end. */
export class Walk {
  readonly course: Course
  readonly kit: Kit
  readonly signal: AbortSignal
  readonly #streams: Duplex[] = []

  constructor(course: Course, kit: Kit, signal: AbortSignal) {
    this.course = course
    this.kit = kit
    this.signal = signal
  }

  get target(): Target {
    return this.course.target
  }

  bound(timeoutMs: number): Bound {
    return { timeoutMs, signal: this.signal }
  }

  /** Does the work of a step and returns what came of it with the time it took. */
  async time<T>(name: StepName, work: () => T | Promise<T>): Promise<readonly [T, number]> {
    if (this.signal.aborted) throw new Interrupted()
    this.course.current = name
    const start = this.kit.monotonicMs()
    const result = await work()
    if (this.signal.aborted) throw new Interrupted()
    return [result, Math.round(this.kit.monotonicMs() - start)]
  }

  add(step: Step): void {
    this.course.steps.push(step)
  }

  /** Ends the course here. */
  fail(step: Omit<Step, 'mark' | 'text'> & { readonly text?: string }, finding: Finding): undefined {
    this.course.steps.push({ ...step, mark: 'fail', text: step.text ?? finding.detail })
    this.course.finding = finding
    return undefined
  }

  keep<S extends Duplex>(stream: S): S {
    // Errors after a step has its answer are no news, and must find a listener.
    stream.on('error', () => undefined)
    this.#streams.push(stream)
    return stream
  }

  closeAll(): void {
    for (const stream of this.#streams) stream.destroy()
  }
}

/** A stream on which the host, or whoever stands in its place, is expected to speak TLS. */
export interface Opened {
  readonly stream: Duplex
  /** Whether only a public CA is in place. */
  readonly publicExpected: boolean
}
