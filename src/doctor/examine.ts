/** One host, step after step, directly or through a proxy; it stops at the first step that cannot be passed. */
import { openDirectly } from './direct.ts'
import { speak } from './speak.ts'
import { openVia } from './through.ts'
import type { Via } from './via.ts'
import { Interrupted, Walk, type Course, type Kit } from './walk.ts'

/** Fills the course. Rejects only with a bug; ends early, with the course unfinished, when `signal` is aborted. */
export async function examine(
  course: Course,
  via: Via | undefined,
  kit: Kit,
  signal: AbortSignal,
): Promise<void> {
  const walk = new Walk(course, kit, signal)
  try {
    const opened = await (via ? openVia(walk, via) : openDirectly(walk))
    if (opened) await speak(walk, opened)
    course.finished = true
  } catch (error) {
    if (!(error instanceof Interrupted)) throw error
  } finally {
    delete course.current
    walk.closeAll()
  }
}
