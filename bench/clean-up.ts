/** Undoes what the benchmark has done to the machine, however it ends. */

const undoings: (() => void)[] = []

/** `undo` runs when the program ends or is interrupted; the last registered first. It must not wait. */
export function onEnd(undo: () => void): void {
  undoings.push(undo)
}

export function cleanUp(): void {
  for (let undo = undoings.pop(); undo; undo = undoings.pop()) {
    try {
      undo()
    } catch (error) {
      process.stderr.write(`bench: while cleaning up: ${String(error)}\n`)
    }
  }
}

/** Call once. After the cleaning, a signal does what it does by default. */
export function watchForTheEnd(): void {
  process.on('exit', cleanUp)
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
    process.once(signal, () => {
      cleanUp()
      process.kill(process.pid, signal)
    })
  }
}
