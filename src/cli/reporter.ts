/** What a process of the gate tells its operator, on standard error. */
export interface Reporter {
  readonly say: (text: string) => void
  /** Something unexpected was thrown: a bug. */
  readonly onBug: (error: unknown) => void
  /** Accepting pauses for want of descriptors; `code` is the errno's name. */
  readonly onAcceptPaused: (code: string) => void
}

/** @param name the program's name, as it starts each line */
export function createReporter(stderr: NodeJS.WritableStream, name = 'sallyport'): Reporter {
  const say = (text: string): void => void stderr.write(`${name}: ${text}\n`)
  return {
    say,
    onBug: (error) =>
      say(
        `unexpected, and so denied: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      ),
    onAcceptPaused: throttle((code) =>
      say(`cannot accept connections for now: ${code}; raise the descriptor limit`),
    ),
  }
}

/** At most one call in ten seconds: a condition that lasts is said now and then, not each time. */
function throttle(tell: (text: string) => void): (text: string) => void {
  let lastMs = Number.NEGATIVE_INFINITY
  return (text) => {
    if (performance.now() - lastMs < 10_000) return
    lastMs = performance.now()
    tell(text)
  }
}
