/** What processes have used, out of /proc: a process with all its threads and descendants. */
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'

const TICKS_PER_SECOND = Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

export interface Memory {
  /** Resident bytes. */
  readonly rss: number
  /** Resident bytes, those shared with other processes divided among them. */
  readonly pss: number
}

/** CPU seconds, user and system. */
export function cpuSeconds(pid: number): number {
  let ticks = 0
  // After the name: state is field 3, so utime and stime (14 and 15) are at 11 and 12. See proc(5).
  for (const member of family(pid)) {
    const fields = statFields(member)
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
  }
  return ticks / TICKS_PER_SECOND
}

export function memory(pid: number): Memory {
  let rss = 0
  let pss = 0
  for (const member of family(pid)) {
    const text = read(`/proc/${member}/smaps_rollup`)
    rss += bytesOf('Rss', text)
    pss += bytesOf('Pss', text)
  }
  return { rss, pss }
}

function bytesOf(name: string, text: string): number {
  return Number(new RegExp(`^${name}:\\s+([0-9]+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024
}

/** The process itself, then its descendants. */
export function family(pid: number): readonly number[] {
  const children = new Map<number, number[]>()
  for (const entry of readdirSync('/proc')) {
    if (!/^[0-9]+$/.test(entry)) continue
    const parent = Number(statFields(Number(entry))[1] ?? 0)
    children.set(parent, [...(children.get(parent) ?? []), Number(entry)])
  }
  const found = [pid]
  // Grows while it is walked.
  for (const member of found) found.push(...(children.get(member) ?? []))
  return found
}

/** The fields behind the name, which may itself contain blanks and brackets. */
function statFields(pid: number): readonly string[] {
  const text = read(`/proc/${pid}/stat`)
  return text.slice(text.lastIndexOf(')') + 2).split(' ')
}

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return '' // the process has ended
  }
}
