/** Time as an argument, so that tests can hold it still. */
export interface Clock {
  /** Wall clock, milliseconds since the epoch: timestamps and expiry dates. */
  wallMs(): number
  /** Monotonic milliseconds from any origin: lifetimes and durations. Never jumps with the wall clock. */
  monotonicMs(): number
  /** Calls back once after `ms`; the timer does not keep the process alive. Returns its cancellation. */
  setTimer(callback: () => void, ms: number): () => void
}

export const systemClock: Clock = {
  wallMs: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimer(callback, ms) {
    const timer = setTimeout(callback, ms).unref()
    return () => {
      clearTimeout(timer)
    }
  },
}
