import { setTimeout as sleep } from 'node:timers/promises'

/** Asks until the answer is neither undefined nor false; past the deadline it fails with the name of what is missing. */
export const eventually = async <T>(
  what: string,
  deadlineMs: number,
  probe: () => T | undefined | false | Promise<T | undefined | false>,
  details: () => string = () => '',
): Promise<T> => {
  const end = performance.now() + deadlineMs
  for (;;) {
    const answer = await probe()
    if (answer !== undefined && answer !== false) return answer
    if (performance.now() > end) throw new Error(`no ${what} within ${deadlineMs} ms\n${details()}`)
    await sleep(20)
  }
}

/** What the promise says, or an error that names what did not come in time. */
export const within = async <T>(what: string, deadlineMs: number, promise: Promise<T>): Promise<T> => {
  const timer = new AbortController()
  const late = sleep(deadlineMs, undefined, { signal: timer.signal }).then(() => {
    throw new Error(`no ${what} within ${deadlineMs} ms`)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    timer.abort()
    late.catch(() => {})
  }
}
