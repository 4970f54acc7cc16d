/** How much of the input is read, on a terminal, for what takes longer than a second. */
export interface ShareProgress {
  /** So many bytes more are read. */
  readonly add: (bytes: number) => void
  /** Removes what was drawn. */
  stop(): void
}

const FIRST_MS = 1000
const REDRAW_MS = 100
const BAR = 30

/** Draws nothing where the stream is no terminal. @param total bytes of all input */
export function showShare(stream: NodeJS.WriteStream, total: number): ShareProgress {
  if (!stream.isTTY || total === 0) return { add: () => undefined, stop: () => undefined }
  const start = performance.now()
  let read = 0
  let drawnMs = start + FIRST_MS - REDRAW_MS
  let drawn = false
  return {
    add(bytes) {
      read += bytes
      const now = performance.now()
      if (now - drawnMs < REDRAW_MS) return
      drawnMs = now
      drawn = true
      const share = Math.min(1, read / total)
      const bar = '█'.repeat(Math.round(share * BAR)).padEnd(BAR, '░')
      const leftSeconds = Math.ceil(((now - start) / 1000) * (1 / share - 1))
      stream.write(`\r${bar} ${Math.floor(share * 100)} %, ${leftSeconds} s left\u001B[K`)
    },
    stop() {
      if (drawn) stream.write('\r\u001B[K')
    },
  }
}
