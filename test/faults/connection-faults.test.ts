/**
 * Every network fault, on either side of the gate, at every moment of a CONNECT: 98 rows on real sockets, through real
 * processes, one for each moment. After each row nothing of it is left, it has left exactly one decision record, and
 * a tunnel beside it has not lost a byte.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { nameOf, ROWS, STAGES, type Row, type Stage } from './matrix.ts'
import { playStage, type Played, type StageReport } from './play.ts'

const reports = new Map<Stage, StageReport>()
const linux = process.platform === 'linux'

/** What the row left behind, or the error that it met. */
function resultOf(row: Row): Played {
  const result = reports.get(row.stage)?.rows.get(nameOf(row))
  if (result === undefined) throw new Error('not played')
  if (result instanceof Error) throw result
  return result
}

describe.runIf(linux)('a fault', () => {
  beforeAll(async () => {
    await Promise.all(
      STAGES.map(async (stage) => {
        const rows = ROWS.filter((row) => row.stage === stage)
        reports.set(stage, await playStage(rows))
      }),
    )
  }, 120_000)

  test.for(ROWS.map((row) => ({ name: nameOf(row), row })))('$name', ({ row }) => {
    const { closings, ...rest } = resultOf(row)
    expect(rest).toEqual({
      decisions: row.decision === undefined ? [] : [row.decision],
      // A side that closes late may have got everything by then.
      whole: expect.arrayContaining([...row.survives]),
      socketsLeft: 0,
      pipeEndsLeft: 0,
      bystander: 'untouched',
      alive: true,
    })
    expect(closings).toHaveLength(row.decision === 'allowed' ? 1 : 0)
    expect(closings.filter((code) => !row.closing.some((one) => one === code))).toEqual([])
  })

  test.for(STAGES)('after all that went wrong %s: an orderly end, and no record too many', (stage) => {
    const report = reports.get(stage)
    const expected = ROWS.filter((row) => row.stage === stage && row.decision !== undefined).length
    expect(report).toMatchObject({ bystanderWhole: true, decisions: expected, exitCode: 0, stderr: '' })
  })
})
