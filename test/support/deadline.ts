/** Long for any machine that still works; a wait that takes longer has hung. */
export const DEADLINE_MS = 10_000

/** The promise, or an error that says what did not happen in time: a hang fails as an assertion does. */
export async function within<T>(promise: Promise<T>, what: string, ms = DEADLINE_MS): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: not within ${ms} ms`)), ms)
  })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}

/** Waits until the condition holds. */
export async function until(condition: () => boolean, what: string, ms = DEADLINE_MS): Promise<void> {
  const end = performance.now() + ms
  while (!condition()) {
    if (performance.now() > end) throw new Error(`${what}: not within ${ms} ms`)
    await new Promise((resolve) => {
      setTimeout(resolve, 2)
    })
  }
}
