/** How far a long read is, redrawn in place on a terminal and gone when it is done. */
const REDRAW_MS = 100
const BAR_WIDTH = 30
/** What is done sooner needs no bar. */
const PATIENCE_MS = 500

export interface ProgressBar {
  add(bytes: number): void
  /** Removes what was drawn. */
  stop(): void
}

/** Draws nothing where the stream is no terminal. `total` is undefined for pipes, whose end nobody knows. */
export function showProgressBar(stream: NodeJS.WriteStream, total: number | undefined): ProgressBar {
  if (!stream.isTTY) return { add: () => undefined, stop: () => undefined }
  const start = performance.now()
  let done = 0
  let drawnAt = start + PATIENCE_MS - REDRAW_MS
  let drawn = false
  return {
    add(bytes) {
      done += bytes
      const now = performance.now()
      if (now - drawnAt < REDRAW_MS) return
      drawnAt = now
      drawn = true
      const line = progressLine(done, total, (now - start) / 1000)
      stream.write(`\r\u001B[K${line.slice(0, Math.max(stream.columns - 1, 20))}`)
    },
    stop() {
      if (drawn) stream.write('\r\u001B[K')
    },
  }
}

export function progressLine(done: number, total: number | undefined, seconds: number): string {
  const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
  const speed = `${mb(done / Math.max(seconds, 0.001))}/s`
  if (total === undefined || total === 0) return `reading, ${mb(done)}, ${speed}`
  const part = Math.min(done / total, 1)
  const full = Math.round(part * BAR_WIDTH)
  const left = Math.ceil((seconds / Math.max(part, 0.001)) * (1 - part))
  return `${'█'.repeat(full)}${'░'.repeat(BAR_WIDTH - full)} ${Math.floor(part * 100)} % of ${mb(total)}, ${speed}, ${left} s left`
}
