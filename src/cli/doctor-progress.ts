/** What the doctor is doing, redrawn in place on a terminal and gone when it is done. */
import type { Course } from '../doctor/walk.ts'

const REDRAW_MS = 100

export interface Progress {
  /** Removes what was drawn. */
  stop(): void
}

/** Draws nothing where the stream is no terminal. */
export function showProgress(
  stream: NodeJS.WriteStream,
  courses: readonly Course[],
  timeLimitMs: number,
): Progress {
  if (!stream.isTTY) return { stop: () => undefined }
  const start = performance.now()
  let drawn = 0
  const draw = (): void => {
    const seconds = ((performance.now() - start) / 1000).toFixed(1)
    const lines = progressLines(courses, seconds, timeLimitMs, stream.rows).map((line) =>
      line.slice(0, Math.max(stream.columns - 1, 20)),
    )
    stream.write(`${erase(drawn)}${lines.join('\n')}\n`)
    drawn = lines.length
  }
  draw()
  const timer = setInterval(draw, REDRAW_MS).unref()
  return {
    stop() {
      clearInterval(timer)
      stream.write(erase(drawn))
    },
  }
}

/** Up over the lines that are there, and clear from there on. */
function erase(lines: number): string {
  return lines === 0 ? '' : `\u001B[${lines}A\u001B[J`
}

/** A line for each host where the terminal has room for them, else one line in all. */
export function progressLines(
  courses: readonly Course[],
  seconds: string,
  timeLimitMs: number,
  rows: number,
): readonly string[] {
  const done = courses.filter((course) => course.finished).length
  const head = `${done} of ${courses.length} hosts done, ${seconds} s of at most ${timeLimitMs / 1000} s; Ctrl-C shows what is known`
  const lines = courses.map((course) => `  ${lineFor(course)}`)
  return lines.length + 3 > rows ? [head] : [head, ...lines]
}

/** The state first: a long name is then what a narrow terminal cuts. */
function lineFor({ target, finding, finished, current }: Course): string {
  const name = `${target.host}:${target.port}`
  if (finding) return `FAIL     ${name}  ${finding.code}`
  const state = finished ? 'well' : (current ?? 'waiting')
  return `${state.padEnd(7)}  ${name}`
}
