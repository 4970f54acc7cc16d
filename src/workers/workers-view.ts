/** The view of a gate that is spread over workers: every worker is asked, and the answers are put together. */
import { mergeTunnels, type Attendance, type GateView } from '../admin/view.ts'
import { addFigures, type Figures } from '../metrics/figures.ts'
import type { Answer, Question } from './protocol.ts'

export interface Asked {
  readonly pid: number | undefined
  /** Nothing where it did not answer in time. */
  readonly answer: Answer | undefined
}

export interface AskedWorkers {
  readonly workers: number
  readonly serving: number
  /** In the order of their places. A worker that crashed has another in its place. */
  ask(question: Question): Promise<readonly Asked[]>
}

interface Said {
  readonly pid: number
  readonly figures: Figures
}

/** @param own the figures of this process, which carries no tunnels */
export function createWorkersView(workers: AskedWorkers, own: () => Figures): GateView {
  /** What each place has said last, and what those that were there before have counted: counters only grow. */
  const last: (Said | undefined)[] = []
  let gone: Figures | undefined

  function remember(place: number, { pid, answer }: Asked): void {
    const before = last[place]
    if (before && before.pid !== pid) {
      const left = { grown: before.figures.grown, standing: NOTHING }
      gone = gone ? addFigures(gone, left) : left
      last[place] = undefined
    }
    if (pid !== undefined && answer?.figures) last[place] = { pid, figures: answer.figures }
  }

  return {
    get attendance(): Attendance {
      return { serving: workers.serving, of: workers.workers }
    },
    async figures() {
      const answers = await workers.ask({ what: 'figures' })
      for (const [place, asked] of answers.entries()) remember(place, asked)
      const all = [...last.map((said) => said?.figures), gone].flatMap((figures) => figures ?? [])
      return all.reduce(addFigures, own())
    },
    async tunnels(limit) {
      const answers = await workers.ask({ what: 'tunnels', limit })
      return mergeTunnels(
        answers.flatMap(({ answer }) => answer?.tunnels ?? []),
        limit,
      )
    },
    async dns() {
      const answers = await workers.ask({ what: 'dns' })
      return answers.flatMap(({ answer }, place) =>
        (answer?.dns ?? []).map((entry) => Object.assign(entry, { worker: place + 1 })),
      )
    },
  }
}

const NOTHING: Figures['standing'] = {
  tunnels: 0,
  revoked: 0,
  connections: 0,
  dnsEntries: 0,
  residentBytes: 0,
  heapUsedBytes: 0,
  minutes: {},
}
